"""A processor under test: its own worker, on its own memory broker, and the outcome of each event.

The worker, the chain and the policies are the real ones. Only the broker is in memory, on Trio's clock, so
with a `trio.testing.MockClock` all waits (`take(within=)`, the pauses of retries) are over at once.
"""

from __future__ import annotations

import enum
import math
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Container, Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs
import trio
from trio.testing import MockClock, active_thread_count, wait_all_tasks_blocked

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import Standing
from runnel_trio._broker._values import Batch, ProcessorSpec
from runnel_trio._codec import Record
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._operate._letters import DeadLetters, Letter
from runnel_trio._operate._parked import Parked, events_of, parked
from runnel_trio._report._traceback import users_frames
from runnel_trio._report._words import counted, described
from runnel_trio._rules._cursor import ORIGIN, is_after
from runnel_trio._rules._drained import is_behind, lag
from runnel_trio._rules._failure import SetAside
from runnel_trio._stream import Stream
from runnel_trio._table import Table
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import DeserializationError, LeaseLost, Misconfigured
from runnel_trio.interfaces import Middleware

__all__ = ["BlockingWatch", "Outcome", "Probe", "Result", "Trial"]

R = TypeVar("R", bound=Record)

#: Seconds that `Trial.send` waits: on Trio's clock if it is a MockClock, otherwise real seconds.
_VIRTUAL, _REAL = 3600.0, 10.0
#: Seconds between two checks of what is handled: they double from the first to the second value.
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.25
#: Entries that are read at once.
_ALL = 1_000_000
#: For how many partitions the error says where they hang.
_SHOWN = 3
#: Seconds that a handler may block Trio.
_BLOCKING = 0.5


class Outcome(enum.Enum):
    """What happened to an event."""

    ACKED = "acked"
    IGNORED = "ignored"
    DEAD_LETTERED = "dead-lettered"
    QUARANTINED = "quarantined"
    PARKED = "parked"
    HALTED = "halted"
    WAITING = "waiting"


_OF_DECISION = {
    ExceptionPolicy.HALT: Outcome.HALTED,
    ExceptionPolicy.IGNORE: Outcome.IGNORED,
    ExceptionPolicy.QUARANTINE: Outcome.QUARANTINED,
    ExceptionPolicy.PARK: Outcome.PARKED,
}


@attrs.frozen(kw_only=True)
class Result(Generic[R]):
    """One event, and what happened to it.

    Attributes:
        record: what was sent; None for an entry that cannot be read as a record.
        partition: the number of its partition.
        xid: its stream id in the partition.
        outcome: ACKED if the function handled it; PARKED if it failed, or waits behind one of its key that
            did; WAITING if it has neither handled it nor failed.
        error: what the function or a link last raised for it; None if nothing.
        attempts: how often it was tried; 1 if it did not fail.
    """

    record: R | None
    partition: int
    xid: str
    outcome: Outcome
    error: Exception | None = None
    attempts: int = 1


@attrs.define(eq=False)
class _Failure:
    error: Exception
    outcome: Outcome | None
    attempts: int


@attrs.define(eq=False)
class Probe(Middleware):
    """The outermost link: notes which events are in hand, and which a call failed with and what follows."""

    failures: dict[tuple[int, bytes], _Failure] = attrs.field(factory=dict, init=False)
    in_hand: set[tuple[int, bytes]] = attrs.field(factory=set, init=False)

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        async for item in parent:
            places = {(x.partition.number, x.xid) for x in (item if isinstance(item, list) else [item])}
            self.in_hand |= places
            try:
                yield item
            except GeneratorExit:
                self._note(events)
                raise
            finally:
                self.in_hand -= places

    def _note(self, events: Any) -> None:
        error = events.exception
        if not isinstance(error, Exception) or isinstance(error, LeaseLost):
            return
        set_aside = isinstance(events.decision, SetAside)
        outcome = Outcome.DEAD_LETTERED if set_aside else _OF_DECISION.get(events.decision)
        for event in events.failed():
            place = event.partition.number, event.xid
            before = self.failures.get(place)
            attempts = before.attempts + 1 if before else 1
            self.failures[place] = _Failure(error, outcome, attempts)


@attrs.define(eq=False, kw_only=True)
class Trial(Generic[R]):
    """A processor under test. Created by `Processor.test`.

    Attributes:
        acked: the records that the function has handled, in the order in which they were sent.
        results: the results of all events sent with `send` and `send_entry`, in that order.
        sent: the records that the function has sent, by stream: ``t.sent[stream]``. They are in the order of
            the `send` calls that led to them; within one call they are sorted by partition number, each
            partition in order.
        emitted: the records in the processor's output streams: ``t.emitted[stream]``, in order within each
            partition.
        in_hand: the records that the function had in hand: more than one with `take` or with ``concurrency``.
        dead_letters: what a `DeadLetterMiddleware` has stored, as `Letter`, whose ``record`` is a `Dead`.
        tables: what is committed in tables of the processor, and in those that were given, by table:
            ``t.tables[accounts]`` is a dict.
        parked: the keys that are parked, as `Parked`; let them go on with `Processor.unpark`, then wait with
            `settled`.

    All of these show the state at the end of the last `send`, `send_entry` or `settled`.

    Example:
        >>> import trio
        >>> from runnel_trio import App, Events, Record
        >>> class Order(Record):
        ...     amount: int
        >>> app = App("shop")
        >>> orders = app.stream("orders", Order, partition_by="amount")
        >>> doubled = app.stream("doubled", Order, partition_by="amount")
        >>> @app.processor(orders)
        ... async def double(events: Events[Order]):
        ...     async for order in events.records():
        ...         await doubled.send(Order(amount=2 * order.amount))
        >>> async def main():
        ...     async with double.test() as t:
        ...         await t.send(Order(amount=1), Order(amount=21))
        ...         return t.sent[doubled]
        >>> trio.run(main)
        [Order(amount=2), Order(amount=42)]
    """

    _stream: Stream[R] = attrs.field(alias="stream")
    _spec: ProcessorSpec = attrs.field(alias="spec")
    _broker: Broker = attrs.field(alias="broker")
    _probe: Probe = attrs.field(alias="probe")
    _streams: Mapping[str, Stream[Any]] = attrs.field(alias="streams")
    _stores: Sequence[DeadLetters] = attrs.field(alias="stores")
    _outputs: Sequence[Stream[Any]] = attrs.field(alias="outputs")
    _halted: Callable[[], BaseException | None] = attrs.field(alias="halted")
    _tables: Sequence[Table[Any]] = attrs.field(default=(), alias="tables")
    acked: list[R] = attrs.field(factory=list, init=False)
    results: list[Result[R]] = attrs.field(factory=list, init=False)
    sent: dict[Stream[Any], list[Any]] = attrs.field(factory=dict, init=False)
    emitted: dict[Stream[Any], list[Any]] = attrs.field(factory=dict, init=False)
    in_hand: list[R] = attrs.field(factory=list, init=False)
    dead_letters: list[Letter] = attrs.field(factory=list, init=False)
    parked: list[Parked] = attrs.field(factory=list, init=False)
    tables: dict[Table[Any], dict[Any, Any]] = attrs.field(factory=dict, init=False)
    told: bool = attrs.field(default=False, init=False)
    _seen: dict[str, bytes] = attrs.field(factory=dict, init=False)
    _places: list[tuple[int, bytes, R | None]] = attrs.field(factory=list, init=False)

    async def send(self, *records: R, within: float | None = None) -> list[Result[R]]:
        """Send records, and wait until the processor has finished everything.

        Args:
            *records: for the processor's stream.
            within: seconds that this may take; by default an hour of a MockClock's time, or 10 s of real
                time.

        Returns:
            What happened to each, in the order given.

        Raises:
            Exception: what the function raised, under the policy HALT. The worker has then ended.
            RecordInvalid: a record does not fit its types.
            TooSlowError: the processor has not finished; the message says which events are left.
            Misconfigured: the worker had already ended.
        """
        self._refuse_when_halted()
        ends = {number: await self._end(number) for number in map(self._stream.partition_of, records)}
        before = len(self._places)
        await self._stream.send(*records)
        rows = {number: iter(await self._after(number, end)) for number, end in ends.items()}
        for record in records:
            number = self._stream.partition_of(record)
            self._places.append((number, next(rows[number]), record))
        await self.settled(within)
        return self.results[before:]

    async def send_entry(
        self, fields: Mapping[str, bytes], *, partition: int = 0, within: float | None = None
    ) -> Result[R]:
        """Store an entry as it is, even one that `send` would refuse, and wait as `send` does.

        Args:
            fields: its fields and values.
            partition: the number of the partition.
            within: as in `send`.

        Raises:
            As `send`.
        """
        self._refuse_when_halted()
        end, before = await self._end(partition), len(self._places)
        names, values = [name.encode() for name in fields], list(fields.values())
        await self._broker.append(self._stream.spec, {partition: Batch(names, values)})
        (xid,) = await self._after(partition, end)
        self._places.append((partition, xid, None))
        await self.settled(within)
        return self.results[before]

    async def settled(self, within: float | None = None) -> None:
        """Wait until everything that was sent is handled, parked, or stands still in quarantine.

        Under a MockClock that only moves when told to, wait until nothing more happens without that: events
        that then wait for time to pass have the outcome WAITING.

        Args:
            within: seconds, as in `send`.

        Raises:
            As `send`.
        """
        clock = trio.lowlevel.current_clock()
        limit = within
        if limit is None:
            limit = _VIRTUAL if isinstance(clock, MockClock) else _REAL
        if isinstance(clock, MockClock) and clock.rate == 0 and clock.autojump_threshold == math.inf:
            await wait_all_tasks_blocked()
            waiting = []
        else:
            waiting = await self._waited(limit)
        await self._collect()
        error = self._halted()
        if error is not None:
            self.told = True
            raise error
        if waiting:
            raise trio.TooSlowError(
                f"processor {self._spec.name!r} is not through within {limit:g} s: "
                + ", ".join(f"{counted(count, 'event')} in partition {number}" for number, count in waiting)
                + "".join(self._stack(number) for number, _ in waiting[:_SHOWN])
            )

    def _stack(self, number: int) -> str:
        """Where the function is for a partition, as Python prints a stack; empty if it does not run."""
        name, tasks = f"{self._spec.name}[{number}]", [trio.lowlevel.current_root_task()]
        while tasks:
            task = tasks.pop()
            if task is not None and (task.name == name or task.name.startswith(f"{name}.")):
                found = users_frames(traceback.StackSummary.extract(task.iter_await_frames()))
                lines = "".join(traceback.format_list(found)).rstrip()
                if lines:
                    return f"\n{name} is at\n{lines}"
            tasks += [x for nursery in task.child_nurseries for x in nursery.child_tasks] if task else []
        return ""

    def __repr__(self) -> str:
        events = counted(len(self.results), "event")
        return f"<Trial of {self._spec.name}: {events}, {len(self.acked)} acked>"

    def _refuse_when_halted(self) -> None:
        error = self._halted()
        if error is not None and not self.told:  # before anything was sent
            self.told = True
            raise error
        if error is not None:
            raise Misconfigured(
                f"processor {self._spec.name!r} has ended the worker with {described(error)}, as its "
                "exception policy says: it handles nothing more. Test what comes after in a test of its own"
            ) from error

    async def _waited(self, limit: float) -> list[tuple[int, int]]:
        """`_waiting`, once it is empty or the time is over."""
        look, deadline = _FIRST_LOOK, trio.current_time() + limit
        while (waiting := await self._waiting()) and self._halted() is None:
            self._refuse_threads()
            if trio.current_time() >= deadline:
                break
            await trio.sleep(look)
            look = min(2 * look, _LAST_LOOK)
        return waiting

    def _refuse_threads(self) -> None:
        clock = trio.lowlevel.current_clock()
        jumps = isinstance(clock, MockClock) and clock.autojump_threshold < math.inf
        if jumps and active_thread_count():
            raise Misconfigured(
                f"processor {self._spec.name!r} works in a thread (trio.to_thread), for which a clock that "
                "jumps does not wait: hours would pass meanwhile. Leave autojump_clock out of this test"
            )

    async def _waiting(self) -> list[tuple[int, int]]:
        """Partitions that are not finished, and with how many events."""
        numbers = range(self._stream.partition_count)
        states = await self._broker.log_states(self._spec, numbers)
        standing = await self._broker.quarantined(self._spec, numbers)
        now = self._broker.wall() * 1000
        waiting = []
        for number, state, why in zip(numbers, states, standing, strict=True):
            if state is not None and why is None:
                heads = await self._broker.parked_heads(self._spec, number)
                due = sum(max(1, head.count) for head in heads.values() if head.is_due(now))
                if due or is_behind(state):
                    waiting.append((number, lag(state) + due))
        return waiting

    async def _end(self, number: int) -> bytes:
        entries = await self._broker.entries(self._stream.spec, number, count=_ALL)
        return entries[-1][0] if entries else ORIGIN

    async def _after(self, number: int, xid: bytes) -> list[bytes]:
        entries = await self._broker.entries(self._stream.spec, number, after=xid, count=_ALL)
        return [xid for xid, _ in entries]

    async def _collect(self) -> None:
        surveyed = await self._broker.survey(self._stream.spec)
        standing = [x.processors.get(self._spec.name) for x in surveyed]
        self.parked = await parked(self._broker, self._spec)
        aside = {
            (x.partition, event.xid)
            for x in self.parked
            for event in await events_of(self._broker, self._spec, self._stream, x)
        }
        self.results = [self._result(standing[place[0]], aside, *place) for place in self._places]
        in_hand = self._probe.in_hand
        self.in_hand = [
            record for number, xid, record in self._places if (number, xid) in in_hand and record is not None
        ]
        self.acked = [x.record for x in self.results if x.outcome is Outcome.ACKED and x.record is not None]
        sinks = {store.sink.name for store in self._stores}
        for name, stream in self._streams.items():
            if name not in sinks:
                await self._collect_sent(stream)
        self.emitted = {stream: self.sent[stream] for stream in self._outputs}
        self.tables = {table: await _entries(table) for table in self._tables}
        self.dead_letters = [letter for store in self._stores for letter in await store.read()]

    async def _collect_sent(self, stream: Stream[Any]) -> None:
        """Collect what is new in a stream, by partition: the order between partitions differs in each run."""
        own = {(number, xid) for number, xid, _ in self._places} if stream is self._stream else set()
        records = self.sent.setdefault(stream, [])
        for number in range(stream.partition_count):
            place = Partition(number=number, key=self._broker.log_key(stream.spec, number))
            origin = Origin(partition=place, group=b"", decode=stream.decode)
            after = self._seen.get(place.key, ORIGIN)
            for xid, fields in await self._broker.entries(stream.spec, number, after=after, count=_ALL):
                self._seen[place.key] = xid
                if (number, xid) not in own:
                    records.append(_read(Event(origin, xid, fields)))

    def _result(
        self,
        standing: Standing | None,
        aside: Container[tuple[int, bytes]],
        number: int,
        xid: bytes,
        record: R | None,
    ) -> Result[R]:
        failure = self._probe.failures.get((number, xid))
        if (number, xid) in aside:
            outcome = Outcome.PARKED
        elif standing is None or (is_after(xid, standing.cursor) and xid not in standing.ahead):
            outcome = failure.outcome if failure and failure.outcome else Outcome.WAITING
        elif failure and failure.outcome in {Outcome.DEAD_LETTERED, Outcome.IGNORED}:
            outcome = failure.outcome
        else:
            outcome = Outcome.ACKED
        tries = failure.attempts + (outcome is Outcome.ACKED) if failure else 1
        return Result(
            record=record,
            partition=number,
            xid=xid.decode(),
            outcome=outcome,
            error=failure.error if failure else None,
            attempts=tries,
        )


async def _entries(table: Table[Any]) -> dict[Any, Any]:
    """What is committed in a table, without what cannot be read."""
    items, found = table.items(), dict[Any, Any]()
    while True:
        try:
            key, record = await anext(items)
        except DeserializationError:
            continue
        except StopAsyncIteration:
            return found
        found[key] = record


def _read(event: Event) -> Any:
    """The record; the event itself if it is not a record."""
    try:
        return event.record()
    except DeserializationError:
        return event


@attrs.define(eq=False)
class BlockingWatch(trio.abc.Instrument):
    """Warns of a processor function that keeps Trio from doing anything else."""

    name: str
    _began: float = attrs.field(default=0.0, init=False)
    _longest: float = attrs.field(default=0.0, init=False)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Of Trio."""
        self._began = time.monotonic()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """Of Trio."""
        if task.name.startswith(f"{self.name}["):
            self._longest = max(self._longest, time.monotonic() - self._began)

    def warn(self) -> None:
        """If there is anything to warn of."""
        if self._longest > _BLOCKING:
            warnings.warn(
                f"processor {self.name!r} blocked Trio for {self._longest:.1f} s: nothing else ran meanwhile."
                " Await what waits, and do long work in `trio.to_thread.run_sync`",
                RuntimeWarning,
                stacklevel=2,
            )
