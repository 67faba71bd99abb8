"""Processors: an async function over a stream, and the options that it runs with."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._codec import Record
from runnel_trio._handlers import check_function
from runnel_trio._operate._cursors import PartitionReset, forget, reset, undecided
from runnel_trio._operate._letters import DeadLetters
from runnel_trio._operate._parked import Parked, drop, hold, parked, unpark
from runnel_trio._operate._standing import Quarantined, operator_name, pause, quarantined, resume
from runnel_trio._report._words import described
from runnel_trio._rules._backoff import Backoff
from runnel_trio._rules._failure import Policies
from runnel_trio._stream import Stream
from runnel_trio._table import Table
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Middleware

if TYPE_CHECKING:
    from runnel_trio._trial import Trial

__all__ = ["IsolatedWorker", "Processor", "chosen", "letters_of", "refuse_foreign"]

R = TypeVar("R", bound=Record)


class IsolatedWorker(Protocol):
    """What a processor needs from its app to be tested."""

    @property
    def broker(self) -> Broker:
        """The broker that it runs on."""
        ...

    @property
    def streams(self) -> dict[str, Stream[Any]]:
        """The app's streams."""
        ...

    @property
    def error(self) -> BaseException | None:
        """What ended the worker."""
        ...


@attrs.frozen(eq=False, kw_only=True)
class Processor(Generic[R]):
    """A processor function and its options. Created by `App.processor`.

    Attributes:
        stream: what it reads.
        function: called for each owned partition, with that partition's `Events`.
        name: the name of its consumer group.
        policies: what happens when the function raises, for each type of exception.
        middleware: links between the source and the function; the first is the outermost, next to the source.
        lock_expiry: seconds after its last heartbeat until a member counts as dead.
        read_timeout: milliseconds that a read blocks on the server.
        prefetch_count: how many events are kept ready for each partition at most.
        prefetch_bytes: about how many bytes these may have in total.
        assignment_attempts: how often a member asks for a partition that another still holds before it logs
            an error.
        assignment_sleep: seconds between two such attempts.
        grace_period: seconds that the event in hand may take when a partition is given up.
        pool_size: how many connections read at most.
        join_delay: seconds between joining and acquiring partitions.
        max_unacked: how many events of each partition a crash can repeat at most.
        concurrency: how many keys of each partition are handled at a time.
        timeout: seconds that handling one event, or one list, may take; 0 for no limit.
        max_ahead: how far the newest event in hand may be beyond the first that is not handled.
        max_parked: how many events of each partition may be parked.
        park_retry: the pauses after which parked keys are tried again; None: only by `unpark`.
        outputs: streams that the function may emit to.
        tables: its tables.
        sinks: streams that its middleware writes to.
        max_attempts: how many workers may die over an event before the policy applies to it.
        commit_replicas: how many replicas must have a commit before its events count as acknowledged.
        alone: runs a processor in a worker of its own, on a memory broker of its own; for `test`.
    """

    stream: Stream[R]
    function: Callable[[Any], Awaitable[None]]
    name: str
    policies: Policies
    middleware: Sequence[Middleware]
    lock_expiry: float
    read_timeout: int
    prefetch_count: int
    prefetch_bytes: int
    assignment_attempts: int
    assignment_sleep: float
    grace_period: float
    pool_size: int
    join_delay: float
    max_unacked: int
    concurrency: int
    timeout: float
    max_ahead: int
    max_parked: int
    park_retry: Backoff | None
    outputs: Sequence[Stream[Any]]
    max_attempts: int
    commit_replicas: int
    tables: Sequence[Table[Any]] = ()
    isolated: Callable[
        [Processor[Any], Callable[[], Awaitable[None]]], AbstractAsyncContextManager[IsolatedWorker]
    ] = attrs.field(repr=False)
    sinks: list[Stream[Any]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        check_function(self.name, self.stream.record, self.function)
        if self.concurrency > self.max_unacked:
            raise Misconfigured(
                f"processor {self.name!r}: concurrency={self.concurrency} is more than "
                f"max_unacked={self.max_unacked}, which bounds what is handled and not committed: make it "
                f"max_unacked={self.concurrency} at least"
            )
        if self.park_retry is not None and not isinstance(self.park_retry, Backoff):
            raise Misconfigured(
                f"processor {self.name!r}: park_retry={described(self.park_retry)} is no Backoff: write "
                "park_retry=Backoff(delay=60)"
            )
        for output in self.outputs:
            if not isinstance(output, Stream) or output.spec.app != self.stream.spec.app:
                raise Misconfigured(
                    f"processor {self.name!r}: outputs are streams of the same app, and "
                    f"{described(output)} is none"
                )
        for link in self.middleware:
            if not isinstance(link, Middleware):
                raise Misconfigured(f"processor {self.name!r}: {described(link)} is no Middleware")
            self.sinks.extend(link.declared(self.stream))

    @property
    def exception_policy(self) -> ExceptionPolicy:
        """What happens when the function raises an exception of a type that has no policy of its own."""
        return self.policies.default

    @property
    def written(self) -> list[Stream[Any]]:
        """All streams that are written together with its commits."""
        return [*self.outputs, *self.sinks]

    @property
    def by_key(self) -> bool:
        """Whether its events are handed out by their keys, and not as they stand in the log."""
        if self.concurrency > 1 or self.policies.may_park or self.tables:
            return True
        return any(link.by_key for link in self.middleware)

    @asynccontextmanager
    async def test(
        self, *, tables: Mapping[Table[Any], Mapping[Any, Record]] | None = None
    ) -> AsyncIterator[Trial[R]]:
        """Run the processor for a test, without a server or other processors; everything else is real.

        Its worker, middleware and exception policy are the real ones, on a broker in memory. With a
        `trio.testing.MockClock` (the fixture ``autojump_clock`` of pytest-trio), all waits are over at once.
        During the test, the whole app uses that broker in this run of Trio: you can send to its streams, and
        `Processor.resume` and `reset` work.

        Args:
            tables: what is in tables when the processor begins, by table and key. They may be tables of other
                processors, which this one reads.

        Raises:
            Misconfigured: the app is already connected in this run of Trio.
            Exception: what ended the worker, unless `Trial.send` has raised it.

        Warns:
            RuntimeWarning: the function blocked Trio for more than half a second.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Events, Record
            >>> class Order(Record):
            ...     amount: int
            >>> app = App("shop")
            >>> orders = app.stream("orders", Order, partition_by="amount")
            >>> @app.processor(orders, exception_policy="ignore")
            ... async def check(events: Events[Order]):
            ...     async for order in events.records():
            ...         assert order.amount > 0, "nothing to pay"
            >>> async def main():
            ...     async with check.test() as t:
            ...         good, bad = await t.send(Order(amount=1), Order(amount=0))
            ...         print(good.outcome, bad.outcome, repr(bad.error))
            ...         assert t.acked == [Order(amount=1)]
            >>> trio.run(main)
            Outcome.ACKED Outcome.IGNORED AssertionError('nothing to pay')
        """
        from runnel_trio._trial import BlockingWatch, Probe, Trial  # needs trio.testing, which others do not

        probe, watch = Probe(), BlockingWatch(self.name)
        links, given = (probe, *self.middleware), tables or {}

        async def prepare() -> None:
            for table, entries in given.items():
                for key, record in entries.items():
                    await table.put(key, record)

        tested = attrs.evolve(self, middleware=links, join_delay=0.0)
        async with self.isolated(tested, prepare) as ran:
            trial: Trial[R] = Trial(
                stream=self.stream,
                spec=self.spec,
                broker=ran.broker,
                probe=probe,
                streams=ran.streams,
                outputs=self.outputs,
                stores=[link.store for link in self.middleware if link.store is not None],
                halted=lambda: ran.error,
                tables=[*self.tables, *(x for x in given if x not in self.tables)],
            )
            trio.lowlevel.add_instrument(watch)
            try:
                yield trial
            finally:
                trio.lowlevel.remove_instrument(watch)
        watch.warn()
        if ran.error is not None and not trial.told:
            raise ran.error

    async def reset(
        self,
        start: str | datetime = "0",
        *,
        partitions: Collection[int] | None = None,
        force: bool = False,
        dry_run: bool = False,
        tables: str | None = None,
    ) -> list[PartitionReset]:
        """Go back or ahead: set where the processor continues when it runs next.

        This lifts quarantines and forgets which events have killed workers.

        Args:
            start: the first event to process: ``"0"`` for all stored events, ``"$"`` for those sent from now
                on, a stream id, or a time (a `datetime` with time zone, or ISO 8601) for events stored then
                or later. A start after the last event means the end.
            partitions: numbers; all by default.
            force: reset even while workers run. They finish the events in hand and follow at once.
            dry_run: change nothing, only return what would change.
            tables: what becomes of the processor's tables, if it has any; there is no default. "empty"
                deletes their entries in the partitions that are reset, in the same step: with all events
                handled again, the tables are built anew. "keep" leaves them: an event that is handled again
                counts again.

        Returns:
            One `PartitionReset` for each partition.

        Raises:
            WorkersAlive: workers run, and ``force`` is not set.
            Misconfigured: no such start or partition, the stream was declared differently before, or the
                processor has tables and ``tables`` is not given.
            BrokerUnavailable: the server cannot be reached.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="order_id", partition_count=1)
            >>> @app.processor(orders)
            ... async def book(events): ...
            >>> async def main():
            ...     async with app.session():
            ...         await orders.send(Order(order_id=1), Order(order_id=2))
            ...         return await book.reset("0", dry_run=True)
            >>> trio.run(main)[0].lag_after
            2
        """
        if self.tables and tables is None and not dry_run:
            raise Misconfigured(undecided([table.name for table in self.tables]))
        connection = self.stream.connect(self.stream)
        how: dict[str, Any] = {"force": force, "dry_run": dry_run, "tables": tables}
        async with connection.looking() if dry_run else connection as broker:
            return await reset(broker, self.spec, start, partitions, **how)

    async def pause(
        self, partitions: Collection[int] | None = None, *, reason: str = "", by: str | None = None
    ) -> list[int]:
        """Stop partitions until `resume`, whichever worker owns them, and through restarts.

        Workers finish the event in hand, within the grace period, and release the partition.

        Args:
            partitions: numbers; all by default.
            reason: shown to operators.
            by: who asked for it; by default this user and machine.

        Returns:
            The partitions that are now paused, without those in quarantine.

        Raises:
            Misconfigured: no such partition.
            BrokerUnavailable: the server cannot be reached.

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
            ...     async with app.session():
            ...         paused = await book.pause(reason="the database is being moved")
            ...         return paused, [x.partition for x in await book.resume()]
            >>> trio.run(main)
            ([0, 1], [0, 1])
        """
        async with self.stream.connect(self.stream) as broker:
            return await pause(broker, self.spec, partitions, reason, by)

    async def forget(self) -> int:
        """Delete what the server keeps about the processor: cursors, leases, quarantines, members.

        Its stream stays. If it runs again, it begins at the oldest event. Full partitions no longer wait for
        it.

        Returns:
            The number of partitions in which it had a cursor.

        Raises:
            WorkersAlive: workers run.
            BrokerUnavailable: the server cannot be reached.
        """
        async with self.stream.connect(self.stream).looking() as broker:
            return await forget(broker, self.spec)

    async def quarantined(self, partitions: Collection[int] | None = None) -> list[Quarantined]:
        """The partitions that stand still, quarantined or paused, and why.

        Args:
            partitions: numbers; all by default.

        Raises:
            Misconfigured: no such partition.
            BrokerUnavailable: the server cannot be reached.
        """
        async with self.stream.connect(self.stream).looking() as broker:
            return await quarantined(broker, self.spec, partitions)

    async def resume(
        self,
        standing: Collection[Quarantined] | None = None,
        *,
        skip: bool = False,
        dead_letter: bool = False,
    ) -> list[Quarantined]:
        """Let quarantined or paused partitions go on; running workers continue at once.

        Args:
            standing: exactly these, as returned by `quarantined`; all by default.
            skip: acknowledge the failed events, so that they are not handled again.
            dead_letter: store the failed events as dead letters, with the processor's `DeadLetterMiddleware`,
                in the same step that acknowledges them.

        Returns:
            The partitions that go on, without those that have changed in the meantime.

        Raises:
            Misconfigured: both options are given, or the processor has no `DeadLetterMiddleware`.
            StreamFull: there is no room for a dead letter; this partition and the following ones stay
                stopped.
            BrokerUnavailable: the server cannot be reached.
        """
        letters = letters_of(self) if dead_letter else None
        async with self.stream.connect(self.stream).looking() as broker:
            return await resume(broker, self.spec, standing, skip=skip, letters=letters)

    async def parked(self, partitions: Collection[int] | None = None) -> list[Parked]:
        """The parked keys, those first that were parked first.

        Args:
            partitions: numbers; all by default.

        Raises:
            Misconfigured: no such partition.
            BrokerUnavailable: the server cannot be reached.
        """
        async with self.stream.connect(self.stream).looking() as broker:
            return await parked(broker, self.spec, partitions)

    async def unpark(
        self, them: Collection[Parked] | None = None, *, skip_first: bool = False
    ) -> list[Parked]:
        """Handle the events of parked keys again, in order; running workers begin at once.

        Later events of these keys follow when all that are parked are handled. If one fails again, its key is
        parked as before.

        Args:
            them: exactly these, as returned by `parked`; all by default.
            skip_first: leave out the first event of each, which has failed: it is not handled again.

        Returns:
            Those that were still parked; with ``skip_first``, those that began with the same event.

        Raises:
            BrokerUnavailable: the server cannot be reached.
        """
        async with self.stream.connect(self.stream).looking() as broker:
            return await unpark(broker, self.spec, them, skip_first=skip_first)

    async def drop_parked(self, them: Collection[Parked]) -> list[Parked]:
        """Delete the events of parked keys for good; later events of these keys are handled as usual.

        Args:
            them: as returned by `parked`.

        Returns:
            Those that were still parked.

        Raises:
            BrokerUnavailable: the server cannot be reached.
        """
        async with self.stream.connect(self.stream).looking() as broker:
            return await drop(broker, self.spec, them)

    async def park(self, key: Any, *, reason: str = "", by: str | None = None) -> Parked:
        """Park a key by hand: its events wait until `unpark`, and those of other keys go on.

        An event of the key that is in hand is finished. A key that is parked already is held: it is not tried
        again by itself.

        Args:
            key: the partition key, as ``partition_by`` gives it.
            reason: shown to operators.
            by: who asked for it; by default this user and machine.

        Raises:
            Misconfigured: the key cannot be hashed.
            BrokerUnavailable: the server cannot be reached.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     customer: str
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="customer")
            >>> @app.processor(orders, exception_policy="park")
            ... async def bill(events): ...
            >>> async def main():
            ...     async with app.session():
            ...         await bill.park("Ada", reason="fraud desk")
            ...         held = [(x.key, x.reason) for x in await bill.parked()]
            ...         return held, len(await bill.unpark())
            >>> trio.run(main)
            ([('Ada', 'fraud desk')], 1)
        """
        async with self.stream.connect(self.stream) as broker:
            return await hold(broker, self.spec, self.stream, key, reason=reason, by=by or operator_name())

    @property
    def spec(self) -> ProcessorSpec:
        """What the broker knows about it."""
        return ProcessorSpec(stream=self.stream.spec, name=self.name)

    def __repr__(self) -> str:
        return f"<Processor {self.stream.spec.app}.{self.stream.name}/{self.name}>"


def letters_of(processor: Processor[Any]) -> DeadLetters:
    """Its dead letters.

    Raises:
        Misconfigured: the processor makes none.
    """
    for link in processor.middleware:
        if link.store is not None:
            store: DeadLetters = link.store
            return store
    raise Misconfigured(f"{processor!r} has no DeadLetterMiddleware: what fails there makes no dead letters")


def refuse_foreign(app: str, streams: Mapping[str, Stream[Any]], stream: Any) -> None:
    """Refuse a value that cannot be the stream of one of the app's processors.

    Raises:
        Misconfigured: it is not a stream, or belongs to another app.
    """
    if not isinstance(stream, Stream):
        raise Misconfigured(f"a processor needs a stream of `app.stream(…)`, not {described(stream)}")
    if streams.get(stream.name) is not stream:
        raise Misconfigured(
            f"{stream!r} is a stream of another app: processors of app {app!r} need one of its own"
        )


def chosen(
    app: str, processors: Mapping[str, Processor[Any]], names: Collection[str] | None
) -> list[Processor[Any]]:
    """The app's processors with these names; all of them for None.

    Raises:
        Misconfigured: there is no such processor.
    """
    known = ", ".join(sorted(processors)) or "none"
    if unknown := sorted(set(names or ()) - processors.keys()):
        raise Misconfigured(f"app {app!r} has no processor {', '.join(unknown)}; it has: {known}")
    return [x for name, x in processors.items() if names is None or name in names]
