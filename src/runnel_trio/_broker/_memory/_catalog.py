"""Layouts in memory: the steps of `_rules/_layout`, each as atomic as a script."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import trio

from runnel_trio._broker._layouts import checked, layouts_of, meta_like, new_numbers
from runnel_trio._broker._memory._store import Log, key_of
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Catalog
from runnel_trio._broker._values import Layouts, ProcessorSpec, StreamSpec
from runnel_trio._override import override
from runnel_trio._rules._drained import holds_up, is_needed
from runnel_trio._rules._layout import Meta, begun, declared, finished, opened

__all__ = ["MemoryCatalog"]


class MemoryCatalog(MemoryVerbs, Catalog):
    """What is known of a stream stands in the store."""

    @override
    async def declare(self, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
        key = stream.app, stream.name
        if dry_run:
            await trio.lowlevel.checkpoint()
            there = declared(self.store.metas.get(key, Meta()), meta_like(stream))
            return layouts_of(checked(stream, there), stream)
        meta = await self._step(stream, lambda there: declared(there, meta_like(stream)))
        layouts = layouts_of(checked(stream, await self._completed(stream, meta)), stream)
        self.store.streams[key] = layouts.current
        return layouts

    @override
    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        created: dict[str, dict[int, int]] = {name: {} for name in names}
        for number in range(stream.partition_count if names else 0):
            await trio.lowlevel.checkpoint()
            log = self.store.log_of(stream, number)
            for name in created.keys() - log.groups.keys():
                created[name][number] = log.ensure_group(name)
        return created

    @override
    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        await trio.lowlevel.checkpoint()
        meta = self.store.metas.get((stream.app, stream.name), Meta())
        return layouts_of(meta, stream) if meta.whole else None

    @override
    async def reconcile_layout(self, stream: StreamSpec) -> Layouts:
        layouts = await self.declare(stream)
        await self._switch(layouts.current, new_numbers(layouts))
        return layouts

    @override
    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        meta = await self._step(stream, lambda there: begun(there, stream.layout + 1, count))
        layouts = layouts_of(await self._completed(stream, meta), stream)
        self.store.streams[stream.app, stream.name] = layouts.current
        return layouts

    async def _completed(self, stream: StreamSpec, meta: Meta) -> Meta:
        if meta.next is None:
            return meta
        layout, count = meta.next
        following = stream.laid_out(layout, count)
        await self._switch(following, range(max(count, meta.partition_count)))
        former = stream.laid_out(meta.layout, meta.partition_count)
        logs = [self.store.log_of(former, x) for x in range(meta.partition_count)]
        await self.create_groups(following, {name for log in logs for name in log.groups})
        return await self._step(stream, lambda there: opened(there, layout))

    async def _switch(self, stream: StreamSpec, numbers: Collection[int]) -> None:
        for number in numbers:
            await trio.lowlevel.checkpoint()
            key = stream.app, stream.name, number
            self.store.switched[key] = max(self.store.switched.get(key, 1), stream.layout)

    async def _step(self, stream: StreamSpec, step: Callable[[Meta], Meta]) -> Meta:
        await trio.lowlevel.checkpoint()
        key = stream.app, stream.name
        self.store.metas[key] = after = step(self.store.metas.get(key, Meta()))
        return after

    @override
    async def undrained(self, processor: ProcessorSpec) -> Sequence[int]:
        await trio.lowlevel.checkpoint()
        numbers = range(processor.stream.partition_count)
        return [x for x in numbers if _holds_up(self._log(processor, x), processor.name)]

    @override
    async def announce_layout(self, processor: ProcessorSpec) -> None:
        await trio.lowlevel.checkpoint()
        self.store.tell(processor, "layout", "")

    @override
    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> Sequence[int]:
        await trio.lowlevel.checkpoint()
        for name in processors:
            self.store.forget(ProcessorSpec(stream=stream, name=name))
        numbers = range(stream.partition_count)
        stays = [number for number in numbers if not self._discard(stream, number, processors)]
        if not stays:
            await self._step(stream, lambda there: finished(there, stream.layout))
        return stays

    def _discard(self, stream: StreamSpec, number: int, processors: Collection[str]) -> bool:
        log = self.store.log_of(stream, number)
        if self.store.switched.get((stream.app, stream.name, number), 1) <= stream.layout:
            return False
        if any(_holds_up(log, name) for name in processors):
            return False
        if is_needed(log.state(""), [group.cursor for group in log.groups.values()]):
            return False
        del self.store.logs[key_of(stream, number)]
        return True

    @override
    async def streams(self, app: str) -> Sequence[StreamSpec]:
        await trio.lowlevel.checkpoint()
        return [spec for (owner, _), spec in sorted(self.store.streams.items()) if owner == app]


def _holds_up(log: Log, name: str) -> bool:
    owes = bool(log.parked.get(name) or log.outboxes.get(name) or log.tables.get(name))
    return holds_up(log.state(name), stands_still=name in log.quarantines, is_owing=owes)
