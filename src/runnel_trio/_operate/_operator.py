"""`Operator`: inspects and controls an app on its server, by the names of its streams and processors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from functools import partial
from typing import Any

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._stages import current_stage
from runnel_trio._broker._values import Layouts, ProcessorSpec, StreamSpec
from runnel_trio._event import Event
from runnel_trio._operate import _cursors, _parked, _positions, _standing
from runnel_trio._operate._cursors import PartitionReset, numbers_of, start_of
from runnel_trio._operate._events import stored
from runnel_trio._operate._letters import DeadLetters, Letter
from runnel_trio._operate._overview import Overview, overview
from runnel_trio._operate._parked import Parked
from runnel_trio._operate._positions import Position
from runnel_trio._operate._repartition import Repartition
from runnel_trio._operate._standing import Quarantined
from runnel_trio._stream import Stream, refuse_far
from runnel_trio.exceptions import BrokerRefused, Misconfigured

__all__ = ["Operated", "Operator"]


@attrs.frozen(kw_only=True)
class Operated:
    """A processor as the app's code declares it.

    Attributes:
        stream: what it reads.
        name: its own.
        sinks: streams that its middleware writes to.
        letters: finds its dead letters; raises `Misconfigured` if it has none.
    """

    stream: Stream[Any]
    name: str
    sinks: Sequence[Stream[Any]]
    letters: Callable[[], DeadLetters]

    @property
    def spec(self) -> ProcessorSpec:
        """What the broker knows of it."""
        return ProcessorSpec(stream=self.stream.spec, name=self.name)


@attrs.frozen(eq=False, repr=False)
class Operator:
    """Inspects and controls an app on its server. Created by `App.operator`.

    The command line and ``runnel-trio top`` use it for everything. It runs no worker, and looking changes
    nothing on the server: it declares no stream and creates no cursor.

    Name a stream as in `App.stream`. Name a processor as in the code, ``"book"``, or as `status` shows it,
    ``"orders/book"``. The second form also works for processors that only the server knows: it needs no code,
    only ``App("shop", redis_url=…)``. It takes the stream as the server has it. The first form compares the
    stream with the code, and refuses a difference.

    All methods raise `BrokerUnavailable` if the server cannot be reached, and `BrokerRefused` if it refuses
    permanently. Methods that say so raise `Misconfigured` for names and numbers that do not exist.

    Cancellation: a method that only looks ends at once. A method that acts, and is cancelled or fails, may
    have done its work for some of the partitions or letters, each completely; call it again for the rest.

    Attributes:
        app: the app's name.

    Example:
        >>> import trio
        >>> from runnel_trio import App, Record
        >>> class Order(Record):
        ...     order_id: int
        >>> app = App("example", redis_url="memory://")
        >>> orders = app.stream("orders", Order, partition_by="order_id", partition_count=2)
        >>> @app.processor(orders)
        ... async def book(events): ...
        >>> async def main():
        ...     async with app.session(), app.operator() as op:
        ...         await orders.send(Order(order_id=1), Order(order_id=2))
        ...         await op.pause("book", reason="the database is being moved")
        ...         view = await op.overview()
        ...         return view.processors[0].lag, [x.error for x in await op.resume("book")]
        >>> trio.run(main)
        (2, ['the database is being moved', 'the database is being moved'])
    """

    app: str
    _broker: Broker
    _streams: Mapping[str, Stream[Any]] = attrs.field(factory=dict)
    _processors: Mapping[str, Operated] = attrs.field(factory=dict)
    _led: int = 0

    def __repr__(self) -> str:
        return f"<Operator of {self.app}>"

    # Looks

    @property
    def server(self) -> str:
        """The kind of server, in words for people."""
        return self._broker.about

    def wall(self) -> float:
        """The time of day by which crontabs run, in seconds since 1970; with ``memory://`` it is Trio's."""
        return self._broker.wall()

    async def overview(self) -> Overview:
        """The current state of the app: its streams, its processors, who owns what, lag and age.

        `runnel_trio.operating.troubles` finds what is wrong in it.
        """
        known = [x.spec for x in self._processors.values()]
        return await overview(self._broker, self.app, known, led=self._led)

    async def streams(self) -> list[Layouts]:
        """The streams that the server knows, as they were last declared."""
        found = await self._broker.streams(self.app)
        return [await self._broker.layouts(spec) or Layouts(spec) for spec in found]

    async def layouts(self, stream: str) -> Layouts:
        """The layouts of a stream; as in the code, if it has not been declared to the server.

        Raises:
            Misconfigured: there is no such stream.
        """
        spec = await self._stream_spec(stream)
        return await self._broker.layouts(spec) or Layouts(spec)

    async def survey(self, stream: str) -> Mapping[StreamSpec, Sequence[Surveyed]]:
        """The state of the partitions of a stream, by layout: the former one first, if there is one.

        Raises:
            Misconfigured: there is no such stream.
            BrokerRefused: another program has put something at a partition's keys.
        """
        layouts = await self.layouts(stream)
        found = {layout: await self._broker.survey(layout) for layout in layouts.all}
        for misfit in (misfit for partitions in found.values() for x in partitions for misfit in x.misfits):
            raise BrokerRefused(
                f"{misfit.key} {misfit.text}. Rename or delete it, and it is made anew when it is needed"
            )
        return found

    def events(
        self,
        stream: str,
        start: str | datetime = "0",
        *,
        partitions: Collection[int] | None = None,
        keys: Collection[Any] | None = None,
        follow: bool = False,
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """The events in a stream, by the time in their ids; this has no effect on processors.

        Events of former partitions come first. ``async with op.events("orders") as events:`` gives an
        iterator, which can be used once.

        Args:
            stream: a stream that the code declares.
            start: the first event, as for `reset`; with ``"$"`` only new events.
            partitions: numbers; all by default.
            keys: only events with these partition keys, and events that cannot be read.
            follow: then go on with new events, for ever.

        Raises:
            Misconfigured: there is no such stream, start or partition.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="order_id")
            >>> async def main():
            ...     async with app.operator() as op:
            ...         await orders.send(Order(order_id=1), Order(order_id=2), Order(order_id=1))
            ...         async with op.events("orders", keys=[1]) as events:
            ...             return [event.record() async for event in events]
            >>> trio.run(main)
            [Order(order_id=1), Order(order_id=1)]
        """
        return stored(
            self._broker,
            self._stream(stream),
            start_of(start),
            partitions=partitions,
            keys=keys,
            follow=follow,
        )

    async def processor(self, name: str) -> ProcessorSpec:
        """The processor with a name: its stream, with the stream's current layout.

        Raises:
            Misconfigured: there is no such processor.
        """
        return await self._spec(name)

    async def partitions(self, processor: str, numbers: Collection[int] | None = None) -> list[int]:
        """The numbers of the partitions that a processor reads now.

        Args:
            processor: its name.
            numbers: only these.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        stage = await current_stage(self._broker, await self._spec(processor))
        return numbers_of(stage.stream, numbers)

    async def positions(self, processor: str, partitions: Collection[int] | None = None) -> list[Position]:
        """How far a processor is in each partition, including those that it reads next.

        Args:
            processor: its name.
            partitions: numbers of those that it reads now; all by default.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        return await _positions.positions(self._broker, await self._spec(processor), partitions)

    async def quarantined(
        self, processor: str, partitions: Collection[int] | None = None
    ) -> list[Quarantined]:
        """The partitions that stand still, quarantined or paused, and why.

        Args:
            processor: its name.
            partitions: numbers; all by default.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        return await _standing.quarantined(self._broker, await self._spec(processor), partitions)

    async def parked(
        self, processor: str, partitions: Collection[int] | None = None, *, limit: int | None = None
    ) -> list[Parked]:
        """The parked keys of a processor, those first that were parked first.

        Args:
            processor: its name.
            partitions: numbers; all by default.
            limit: return at most this many.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        return await _parked.parked(self._broker, await self._spec(processor), partitions, limit)

    async def count_parked(self, processor: str, partitions: Collection[int] | None = None) -> int:
        """How many keys of a processor are parked.

        Args:
            processor: its name.
            partitions: numbers; all by default.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        return await _parked.count_parked(self._broker, await self._spec(processor), partitions)

    async def parked_events(self, processor: str, parked: Parked) -> list[Event]:
        """The events of a parked key, in order, without those that are handled by now.

        Args:
            processor: its name, in the code.
            parked: the key, as returned by `parked`.

        Raises:
            Misconfigured: there is no such processor.
        """
        declared = self._declared(processor)
        spec = await self._spec(declared.name)
        return await _parked.events_of(self._broker, spec, declared.stream, parked)

    async def letters(
        self, processor: str, *, partitions: Collection[int] | None = None, limit: int | None = None
    ) -> list[Letter]:
        """The dead letters of a processor, by partition, in order.

        Args:
            processor: its name, in the code.
            partitions: numbers of the dead-letter stream's partitions; all by default.
            limit: return at most this many.

        Raises:
            Misconfigured: there is no such processor, or it has no `DeadLetterMiddleware`.
        """
        return await self._declared(processor).letters().read(partitions=partitions, limit=limit)

    def dead_letter_stream(self, processor: str) -> str:
        """The name of the stream that the dead letters of a processor are in.

        Raises:
            Misconfigured: as `letters`.
        """
        return self._declared(processor).letters().sink.name

    # Acts

    async def pause(
        self,
        processor: str,
        partitions: Collection[int] | None = None,
        *,
        reason: str = "",
        by: str | None = None,
    ) -> list[int]:
        """Stop partitions of a processor until `resume`, whichever worker owns them, and through restarts.

        Args:
            processor: its name.
            partitions: numbers; all by default.
            reason: shown to operators.
            by: who asked for it; by default this user and machine.

        Returns:
            The partitions that are now paused, without those in quarantine.

        Raises:
            Misconfigured: there is no such processor or partition.
        """
        spec = await self._spec(processor, writes=True)
        return await _standing.pause(self._broker, spec, partitions, reason, by)

    async def resume(
        self,
        processor: str,
        standing: Collection[Quarantined] | None = None,
        *,
        skip: bool = False,
        dead_letter: bool = False,
    ) -> list[Quarantined]:
        """Let quarantined or paused partitions go on; running workers continue at once.

        Args:
            processor: its name; with ``dead_letter``, a processor that the code declares.
            standing: exactly these, as returned by `quarantined`; all by default.
            skip: acknowledge the failed events, so that they are not handled again.
            dead_letter: store the failed events as dead letters, in the same step that acknowledges them.

        Returns:
            The partitions that go on, without those that have changed in the meantime.

        Raises:
            Misconfigured: there is no such processor, it makes no dead letters, or both options are given.
            StreamFull: there is no room for a dead letter; this partition and the following ones stay
                stopped.
        """
        letters = None
        if dead_letter:
            declared = self._declared(processor)
            processor, letters = declared.name, declared.letters()
        spec = await self._spec(processor)
        return await _standing.resume(self._broker, spec, standing, skip=skip, letters=letters)

    async def park(self, processor: str, key: Any, *, reason: str = "", by: str | None = None) -> Parked:
        """Park a key by hand: its events wait until `unpark`, and those of other keys go on.

        Args:
            processor: its name, in the code.
            key: the partition key, as ``partition_by`` gives it.
            reason: shown to operators.
            by: who asked for it; by default this user and machine.

        Raises:
            Misconfigured: there is no such processor, or the key cannot be hashed.
        """
        declared = self._declared(processor)
        spec = await self._spec(declared.name, writes=True)
        by = by or _standing.operator_name()
        return await _parked.hold(self._broker, spec, declared.stream, key, reason=reason, by=by)

    async def unpark(
        self, processor: str, them: Collection[Parked] | None = None, *, skip_first: bool = False
    ) -> list[Parked]:
        """Handle the events of parked keys again, in order; running workers begin at once.

        Args:
            processor: its name.
            them: exactly these, as returned by `parked`; all by default.
            skip_first: leave out the first event of each, which has failed: it is not handled again.

        Returns:
            Those that were still parked; with ``skip_first``, those that began with the same event.

        Raises:
            Misconfigured: there is no such processor.
        """
        return await _parked.unpark(self._broker, await self._spec(processor), them, skip_first=skip_first)

    async def drop_parked(self, processor: str, them: Collection[Parked]) -> list[Parked]:
        """Delete the events of parked keys for good; later events of these keys are handled as usual.

        Args:
            processor: its name.
            them: as returned by `parked`.

        Returns:
            Those that were still parked.

        Raises:
            Misconfigured: there is no such processor.
        """
        return await _parked.drop(self._broker, await self._spec(processor), them)

    async def reset(
        self,
        processor: str,
        start: str | datetime = "0",
        *,
        partitions: Collection[int] | None = None,
        force: bool = False,
        dry_run: bool = False,
        tables: str | None = None,
    ) -> list[PartitionReset]:
        """Go back or ahead: set where a processor continues when it runs next.

        Args:
            processor: its name.
            start: the first event to process, as for `Processor.reset`: ``"0"``, ``"$"``, a stream id or a
                time.
            partitions: numbers; all by default.
            force: reset even while workers run. They finish the events in hand and follow at once.
            dry_run: change nothing, only return what would change.
            tables: what becomes of its tables, as for `Processor.reset`: "empty" or "keep".

        Raises:
            WorkersAlive: workers run, and ``force`` is not set.
            Misconfigured: there is no such processor, start or partition, or the processor has tables and
                ``tables`` is not given.
        """
        spec = await self._spec(processor, writes=not dry_run)
        how: dict[str, Any] = {"force": force, "dry_run": dry_run, "tables": tables}
        return await _cursors.reset(self._broker, spec, start, partitions, **how)

    async def forget(self, processor: str) -> int:
        """Delete what the server keeps about a processor: cursors, leases, quarantines, members.

        Returns:
            The number of partitions in which it had a cursor.

        Raises:
            WorkersAlive: workers run.
            Misconfigured: there is no such processor.
        """
        return await _cursors.forget(self._broker, await self._spec(processor))

    async def replay(self, processor: str, letters: Collection[Letter]) -> int:
        """Put dead letters back, each at the end of its former partition.

        Each letter moves in one step: it is in one of the two streams, never in both or in none.

        Returns:
            How many still existed.

        Raises:
            Misconfigured: as `letters`; or a letter cannot be read, or the middleware is not declared with
                its stream: this letter and the following ones stay.
            StreamFull: there is no room; this letter and the following ones stay.
        """
        return await self._declared(processor).letters().replay(letters)

    async def drop(self, processor: str, letters: Collection[Letter]) -> int:
        """Delete dead letters permanently; returns how many still existed.

        Raises:
            Misconfigured: as `letters`.
        """
        return await self._declared(processor).letters().drop(letters)

    def repartition(self, stream: str) -> Repartition:
        """A change of the number of a stream's partitions, to begin it or to continue it.

        Raises:
            Misconfigured: the code declares no such stream.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="order_id", partition_count=2)
            >>> @app.processor(orders)
            ... async def book(events):
            ...     async for order in events.records(): ...
            >>> async def main():
            ...     async with app.worker(), app.operator() as op:
            ...         await orders.send(Order(order_id=1))
            ...         change = op.repartition("orders")
            ...         await change.begin(4)
            ...         await change.wait()  # until everything in the former partitions is handled
            ...         return (await op.layouts("orders")).current.partition_count
            >>> trio.run(main)
            4
        """
        found = self._stream(stream)
        return Repartition(self._broker, found.declared_spec, partial(self._refuse_far, found))

    # What names mean

    def _stream(self, name: str) -> Stream[Any]:
        if name in self._streams:
            return self._streams[name]
        raise Misconfigured(
            f"the code of app {self.app!r} declares no stream {name!r}: {_listed(self._streams)}"
        )

    async def _stream_spec(self, name: str) -> StreamSpec:
        if name in self._streams:
            return self._streams[name].spec
        known = {spec.name: spec for spec in await self._broker.streams(self.app)}
        if name in known:
            return known[name]
        raise Misconfigured(f"app {self.app!r} has no stream {name!r}: {_listed(known)}")

    async def _spec(self, name: str, *, writes: bool = False) -> ProcessorSpec:
        """The processor with a name; one from the code is compared with the server, or declared to it."""
        declared = self._processors.get(name)
        if declared is None:
            known = await self._known(name)
            if name in known:
                return known[name]
            whole = {f"{x.stream.name}/{x.name}": x for x in self._processors.values()}
            declared = whole.get(name)
            if declared is None:
                there = f"it knows {', '.join(known)}" if known else "it knows none"
                code = f"; the code has {', '.join(self._processors)}" if self._processors else ""
                raise Misconfigured(
                    f"the server has no cursor of {name} of app {self.app!r} (STREAM/PROCESSOR): "
                    f"{there}{code}"
                )
        found = await self._broker.declare(declared.stream.declared_spec, dry_run=not writes)
        declared.stream.adopt(found.current)
        return declared.spec

    async def _known(self, name: str) -> dict[str, ProcessorSpec]:
        """The processors that have cursors on the server, as far as needed to find the one with this name."""
        known: dict[str, ProcessorSpec] = {}
        for spec in sorted(
            await self._broker.streams(self.app), key=lambda x: not name.startswith(f"{x.name}/")
        ):
            for own in sorted({own for x in await self._broker.survey(spec) for own in x.processors}):
                known[f"{spec.name}/{own}"] = ProcessorSpec(stream=spec, name=own)
            if name in known:
                break
        return known

    def _declared(self, name: str) -> Operated:
        for declared in self._processors.values():
            if name in {declared.name, f"{declared.stream.name}/{declared.name}"}:
                return declared
        raise Misconfigured(
            f"the code of app {self.app!r} declares no processor {name!r}: {_listed(self._processors)}"
        )

    async def _refuse_far(self, stream: Stream[Any], count: int) -> None:
        """See `refuse_far`: dead letters of a stream, or those that it holds, must stay on their nodes."""
        for processor in self._processors.values():
            streams = [processor.stream, *processor.sinks]
            if stream in streams:
                for one in streams:
                    layouts = await self._broker.layouts(one.declared_spec)
                    if layouts is not None:
                        one.adopt(layouts.current)
                refuse_far(self._broker, processor.stream, processor.sinks, {stream.name: count})


def _listed(names: Collection[str]) -> str:
    return f"it has {', '.join(names)}" if names else "it has none"


#: Tracebacks and docs name it by where it is public.
Operator.__module__ = "runnel_trio"
