"""The operators' verbs in memory: acting on partitions, and looking at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from runnel_trio._broker._memory._store import Group, Log
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Admin
from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import (
    CommitOutcome,
    Output,
    ProcessorSpec,
    Quarantine,
    Rewound,
    StreamSpec,
)
from runnel_trio._override import override
from runnel_trio._rules._ahead import add_done
from runnel_trio._rules._cursor import ORIGIN, parse_id

__all__ = ["MemoryAdmin"]


class MemoryAdmin(MemoryVerbs, Admin):
    """A quarantine stands in the log that it is for."""

    @override
    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        await trio.lowlevel.checkpoint()
        numbers = range(stream.partition_count)
        return [self.store.log_of(stream, number).surveyed(number) for number in numbers]

    @override
    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        await trio.lowlevel.checkpoint()
        return [self._log(processor, number).quarantines.get(processor.name) for number in partitions]

    @override
    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        await trio.lowlevel.checkpoint()
        log = self._log(processor, why.partition)
        if log.quarantines.get(processor.name) != why:
            return CommitOutcome.FENCED
        if skip and (refusal := self._skip(log, processor, why, outputs)):
            return refusal
        del log.quarantines[processor.name]
        self._tell(processor, "released", [why.partition])
        return CommitOutcome.COMMITTED

    def _skip(
        self, log: Log, processor: ProcessorSpec, why: Quarantine, outputs: Sequence[Output]
    ) -> CommitOutcome | None:
        """Count what failed as done; why not, if not."""
        group, lease = log.groups.get(processor.name), log.lease(processor)
        if group is None:
            return CommitOutcome.REWOUND
        ahead = add_done(lease.ahead, group.cursor, why.ids) if why.ids else b""
        is_next = [xid for xid, _ in log.after(group.cursor, 1)] == [why.first]
        if ahead is None or not (why.ids or is_next):
            return CommitOutcome.REWOUND
        if refusal := self._put(outputs):
            return refusal
        if ahead:
            lease.ahead = ahead
            return None
        passed = log.count_after(group.cursor) - log.count_after(why.last)
        group.entries_read += passed if group.entries_read >= 0 else 0
        group.cursor = why.last
        return None

    @override
    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        await trio.lowlevel.checkpoint()
        done = [
            self._log(processor, why.partition).quarantines.setdefault(processor.name, why) == why
            for why in whys
        ]
        self._tell(processor, "paused", [why.partition for why in whys])
        return done

    @override
    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool, empty: bool = False
    ) -> Sequence[Rewound]:
        await trio.lowlevel.checkpoint()
        done = [self._rewind(processor, number, start, dry=dry_run) for number, start in starts.items()]
        for number in starts if empty and not dry_run else ():
            log = self._log(processor, number)
            if log.tables.pop(processor.name, None):
                log.lease(processor).touched += 1
        return done

    def _rewind(self, processor: ProcessorSpec, number: int, start: bytes, *, dry: bool) -> Rewound:
        log = self._log(processor, number)
        group = log.groups.get(processor.name)
        end = b"%d-%d" % log.last_id
        after = end if start == b"$" or parse_id(start) > log.last_id else start
        lag = log.count_after(after)
        lag_before = log.added - group.entries_read if group and group.entries_read >= 0 else -1
        done = Rewound(number, group.cursor if group else None, after, lag_before, lag)
        if not dry:
            log.groups[processor.name] = Group(after, log.added - lag)
            log.quarantines.pop(processor.name, None)
            lease = log.lease(processor)
            if lease.ahead:  # see rewind.lua
                lease.ahead, lease.commit = b"", -1
            lease.attempts, lease.entries_read = (ORIGIN, 0), log.added - lag
            self._tell(processor, "released", [number])
        return done

    @override
    async def forget(self, processor: ProcessorSpec) -> int:
        await trio.lowlevel.checkpoint()
        self.store.forget(processor)
        numbers = range(processor.stream.partition_count)
        return sum(self._log(processor, number).forget(processor.name) for number in numbers)
