"""The chain around one call of a processor function, and the part of it that the function sees.

    source → middleware … → deliver → the function's `async for`

Each link is an async generator over the one before. They are closed explicitly, from the function towards the
source, in the task that ran them, because Python would close an abandoned generator elsewhere, at some later
time.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any, Generic, Protocol, TypeVar, cast

import attrs
import trio

from runnel_trio._broker._values import Output
from runnel_trio._codec import Record
from runnel_trio._event import Event, Partition
from runnel_trio._report._words import described
from runnel_trio._rules._failure import Decision, Retry
from runnel_trio._stream import Stream
from runnel_trio._table import Table
from runnel_trio._worker._member._effects import Emission
from runnel_trio._worker._member._parked_keys import Failed
from runnel_trio._worker._member._partition._loading import TableQueue
from runnel_trio._worker._member._partition._source import Source
from runnel_trio._worker._member._partition._table_part import TablePart
from runnel_trio._worker._member._partition._time_limit import TimeLimit
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured, StreamFull
from runnel_trio.interfaces import Failure, Middleware
from runnel_trio.middleware._deliver import Deliver, Interrupted

__all__ = ["Batches", "Events", "explain"]

R = TypeVar("R")
S = TypeVar("S", bound=Record)
T = TypeVar("T", bound=Record)


def _never() -> bool:
    """The default: the call is never interrupted."""
    return False


class Batches(Protocol[R]):
    """What `Events.take` returns: lists of events, or with `records` lists of records."""

    def records(self) -> AsyncIterator[list[R]]:
        """Iterate over lists of records instead."""
        ...

    def __aiter__(self) -> AsyncIterator[list[Event]]: ...


@attrs.define(eq=False, kw_only=True)
class Events(Generic[R]):
    """One partition's events, for one call of a processor function: iterate over it, once.

    An event is acknowledged when its iteration of the loop ends: when the loop asks for the next one, or when
    the function leaves it with ``break`` or ``return``. In the latter case the function is called again for
    the next events. When the function raises, the event in hand is not acknowledged and the exception policy
    decides; when it is cancelled, the event is handled again later. After `aclose` the iteration ends; the
    event in hand is treated as with ``break``.

    Attributes:
        stream: name of the stream.
        partition: the partition, with the epoch of its current ownership.
        begun: whether the function has asked for an event.
        exception: what ended this call: an exception of the function, a link or the decoder, `LeaseLost`, or
            Trio's Cancelled; None as long as nothing has. It is for middleware, which otherwise only sees
            GeneratorExit.
        decision: what happens to the events in hand after the call has failed (see `Middleware.on_failure`);
            None as long as it has not failed.
        outputs: what is stored elsewhere when these events are acknowledged.

    Example:
        Inside ``@app.processor(orders)``::

            async def printer(events):
                async for order in events.records():
                    print(order.amount)
    """

    _source: Source = attrs.field(alias="source")
    _middleware: Sequence[Middleware] = attrs.field(alias="middleware")
    stream: str
    _targets: Collection[Stream[Any]] = attrs.field(default=(), alias="targets")
    _grace_period: float = attrs.field(default=math.inf, alias="grace_period")
    _interrupted: Callable[[], bool] = attrs.field(default=_never, alias="interrupted")
    _time_limit: TimeLimit | None = attrs.field(default=None, alias="time_limit")
    _decide: Callable[[Any, BaseException], tuple[Decision, Sequence[Output]]] = attrs.field(alias="decide")
    exception: BaseException | None = attrs.field(default=None, init=False)
    decision: Decision | None = attrs.field(default=None, init=False)
    outputs: Sequence[Output] = attrs.field(default=(), init=False)
    _deserialize: bool = attrs.field(default=False, init=False)
    _links: list[tuple[Middleware, Any]] = attrs.field(factory=list, init=False)
    _chain: Any = attrs.field(default=None, init=False)
    _in_hand: Any = attrs.field(default=None, init=False)
    _emitted: list[Emission] = attrs.field(factory=list, init=False)
    begun: bool = attrs.field(default=False, init=False)

    @property
    def partition(self) -> Partition:
        """The partition that the events come from."""
        return self._source.queue.origin.partition

    @property
    def attempt(self) -> int:
        """The number of this try of the event in hand, or of the next one, from 1; see `RetryMiddleware`."""
        return self._source.queue.tries + 1

    @property
    def retrying(self) -> bool:
        """Whether a call has failed and the events in hand will be handed out again."""
        return isinstance(self.decision, Retry)

    def emit(self, stream: Stream[S], *records: S) -> None:
        """Store records in another stream, in the same step that acknowledges the event in hand.

        They are stored exactly once for each acknowledged event, whatever crashes; if the event fails,
        they are dropped. Records of one key are stored in the order in which they were emitted. While a
        partition that they go to is full, the event is not acknowledged, and this partition waits.

        Args:
            stream: one of the processor's ``outputs``.
            *records: for that stream.

        Raises:
            RecordInvalid: a record does not fit its types.
            StreamFull: one event, or list, emits more than a partition can ever hold.
            Misconfigured: the processor does not declare the stream as an output, or no event is in hand.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Events, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> class Invoice(Record):
            ...     order_id: int
            >>> app = App("shop")
            >>> orders = app.stream("orders", Order, partition_by="order_id")
            >>> invoices = app.stream("invoices", Invoice, partition_by="order_id")
            >>> @app.processor(orders, outputs=[invoices])
            ... async def bill(events: Events[Order]) -> None:
            ...     async for order in events.records():
            ...         events.emit(invoices, Invoice(order_id=order.order_id))
            >>> async def main():
            ...     async with bill.test() as t:
            ...         await t.send(Order(order_id=7))
            ...         return t.emitted[invoices]
            >>> trio.run(main)
            [Invoice(order_id=7)]
        """
        if not any(stream is target for target in self._targets):
            raise Misconfigured(
                f"events.emit({stream!r}): declare it, as in @app.processor(…, outputs=[{stream.name}])"
            )
        if self._in_hand is None:
            raise Misconfigured(
                "events.emit needs an event in hand, with whose acknowledgement the records are stored: call "
                "it in the loop over events"
            )
        emitted = [Emission.of(stream, record) for record in records]
        self._refuse_too_many(stream, [*self._emitted, *emitted])
        self._emitted += emitted

    def _refuse_too_many(self, stream: Stream[Any], emitted: Sequence[Emission]) -> None:
        spec = stream.spec
        if len(emitted) <= spec.partition_size or spec.overflow is Overflow.TRIM:
            return
        counts = Counter(x.number for x in emitted if x.stream is stream)
        number, count = counts.most_common(1)[0]
        if count > spec.partition_size:
            raise StreamFull(stream.name, number, spec.partition_size, tuple(range(count)))

    def take(self, n: int, within: float) -> Batches[R]:
        """Iterate over lists of up to ``n`` events, each acknowledged as a whole.

        Args:
            n: how many events make a full list.
            within: seconds to wait for more after the first event; then the list has what is there.

        Raises:
            Misconfigured: bad numbers, ``within`` longer than the processor's ``grace_period``, or the
                iteration has begun.

        Example:
            Inside a processor function::

                async for orders in events.take(10, within=1).records():
                    assert 1 <= len(orders) <= 10
        """
        self._refuse_when_begun("take")
        _check_numbers(n, within)
        if within > self._grace_period:
            raise Misconfigured(
                f"take({n}, within={within}): a list may wait longer than "
                f"grace_period={self._grace_period:g} s, in which what is in hand must end when a partition "
                "is given up; give the processor a longer grace_period, or take a shorter within"
            )
        self._source.batch = (n, within)
        self._source.backlog.grow(n)
        return cast("Batches[R]", self)

    def table(self, table: Table[T]) -> TablePart[T]:
        """This partition's entries of a table that the processor lists in ``tables``.

        Raises:
            Misconfigured: it does not list this table.

        Example:
            Inside a processor function::

                mine = events.table(accounts)
                async for order in events.records():
                    account = mine.get(order.customer) or Account()
        """
        owned, queue = self._source.backlog.tables, self._source.queue
        if owned is None or owned.tables.get(table.name) is not table or not isinstance(queue, TableQueue):
            raise Misconfigured(
                f"events.table({table!r}): the processor does not list it; declare it as in "
                f"`@app.processor(stream, tables=[{table.name}])`"
            )
        return TablePart(table, owned, queue, self)

    def records(self) -> AsyncIterator[R]:
        """Iterate over records (lists of them after `take`) instead of events.

        Raises:
            DeserializationError: raised in the loop for an entry that cannot be read; the exception policy
                applies even if the function catches it.
        """
        self._refuse_when_begun("records")
        self._deserialize = True
        return cast("AsyncIterator[R]", self)

    def __aiter__(self) -> AsyncIterator[Event]:
        # The last link itself: going through this object would cost every event one more call.
        if self._chain is None:
            self._chain = self._built()
        return cast("AsyncIterator[Event]", self._chain)

    def __anext__(self) -> Awaitable[Event]:
        return self.__aiter__().__anext__()

    async def aclose(self) -> None:
        """End the iteration: close the links, from the function towards the source.

        If a link raises meanwhile, that becomes `exception`, unless there is one already; the others are
        still closed.

        Cancellation: may leave links unclosed; the framework calls this shielded.
        """
        self._source.end_call()
        if self._chain is None:
            self._chain = _nothing()
        self._decide_if_failed()
        while self._links:
            _, link = self._links.pop()
            try:
                await link.aclose()
            except trio.Cancelled:
                raise
            except BaseException as error:
                self.broken(error)
                self._decide_if_failed()

    def fail(self, error: BaseException) -> None:
        """The function raised this; an earlier error of a link counts, unless this one ends the worker."""
        if self.exception is None or not isinstance(error, Exception):
            self.exception = error

    def _decide_if_failed(self) -> None:
        if self.exception is not None and self.decision is None:
            self.decision, self.outputs = self._decide(self, self.exception)

    def handled(self, number: int) -> None:
        """For the acknowledging link: the function asks for the next item, so the one in hand is finished.

        Args:
            number: of its last event.

        Raises:
            Interrupted: it was cancelled meanwhile, and swallowed that.
        """
        source = self._source
        if not source.backlog.marked:  # so it costs no event anything until the partition is about to end
            if self._interrupted():
                raise Interrupted
            source.processed(source.backlog)
        if self._emitted:
            self.finish()
            return
        self._in_hand = None
        done_up_to = source.queue.done_up_to  # calling it as an attribute takes Python longer
        done_up_to(number)

    def finish(self) -> None:
        """At the end of a call: the function has finished what it was given."""
        item, self._in_hand = self._in_hand, None
        if item is not None:
            emitted, self._emitted = self._emitted, []
            self._source.queue.finish(_last(item), emitted)
            if emitted:
                self._source.hurry(self._source.backlog)  # whoever reads them waits for the commit
            else:
                self._source.processed(self._source.backlog)

    def finish_failed(self) -> None:
        """Count the failed events as handled, and store `outputs` with their acknowledgement.

        If a link failed, these are all events that it was given.
        """
        self._source.queue.finish(self.last_in_hand, self.outputs)
        self._source.processed(self._source.backlog)
        self._in_hand = None

    def park(self, failed: Mapping[int, Failed]) -> None:
        """Move events that have failed aside, by their numbers; what was left out before them is handled."""
        self._source.queue.park(self.last_in_hand, failed)
        self._source.processed(self._source.backlog)
        self._in_hand = None

    @property
    def last_in_hand(self) -> int:
        """The number of the last event given to the function or, if none was, of the last event taken."""
        return self._source.queue.last_in_hand if self._in_hand is None else _last(self._in_hand)

    @property
    def has_taken(self) -> bool:
        """Whether the function or a link holds anything that is not acknowledged."""
        return self._source.queue.first_in_hand is not None

    @property
    def has_in_hand(self) -> bool:
        """Whether the function has something that is not acknowledged."""
        return self._in_hand is not None

    def failed(self) -> list[Event]:
        """For links, after a failed call: the events in hand or, if a link failed, all events taken."""
        if self._in_hand is not None:
            return _listed(self._in_hand)
        queue = self._source.queue
        return queue.events_in_hand(queue.last_in_hand)

    def count_try(self) -> None:
        """The events in hand were tried, and failed."""
        self._source.queue.count_try()

    def put_off(self, seconds: float) -> bool:
        """Let only the keys of the events in hand wait; False if only the lane can."""
        done = self._source.queue.put_off(seconds)
        if done:
            self._in_hand = None
        return done

    def ids_in_hand(self) -> list[bytes]:
        """The ids of the events that the function has, including those that links filtered out before them.

        If the function was given nothing, the ids of all events taken.
        """
        taken = self._source.queue.events_in_hand(self.last_in_hand)
        return [event.xid for event in taken or _listed(self._in_hand or [])]

    def failure(self, error: Exception) -> Failure:
        """The failure, for the links that decide about it."""
        return Failure(
            error=error,
            attempt=self.attempt,
            events=self.failed(),
            stream=self.stream,
            partition=self.partition,
            in_front=self._links_in_front(),
        )

    def _links_in_front(self) -> list[Middleware]:
        """The links that still wait at their yield, and those between them that only decide."""
        waiting = {id(link) for link, chain in self._links if getattr(chain, "ag_frame", chain) is not None}
        return list(takewhile(lambda link: id(link) in waiting or _only_decides(link), self._middleware))

    def broken(self, error: BaseException) -> None:
        """For the links: something other than the function failed."""
        if self.exception is None:
            self.exception = error

    def __repr__(self) -> str:
        return f"<Events of {self.partition.key}>"

    def _built(self) -> Any:
        self.begun = True
        chain: Any = self._source
        decode = self._source.queue.origin.decode if self._deserialize else None
        check = None if self._source.poison_guard is None else self._check
        limit = () if self._time_limit is None else (self._time_limit,)
        for link in (*self._middleware, Deliver(decode, check), *limit):
            if _only_decides(link):
                continue
            chain = link.handler(chain, events=self)
            if not hasattr(chain, "__anext__") or not hasattr(chain, "aclose"):
                raise Misconfigured(
                    f"{type(link).__name__}.handler must be an async generator: `async def` with a `yield`"
                )
            self._links.append((link, chain))
        return chain

    def _check(self, item: Event | list[Event]) -> None:
        guard = self._source.poison_guard
        if guard is not None and guard.refused:
            guard.check(event.xid for event in _listed(item))

    def _refuse_when_begun(self, method: str) -> None:
        if self._chain is not None:
            raise Misconfigured(f"events.{method}() must come before the iteration begins")


def _check_numbers(n: Any, within: Any) -> None:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise Misconfigured(f"take({n!r}, within={within!r}): n must be a whole number of events, at least 1")
    if isinstance(within, bool) or not isinstance(within, int | float) or not 0 <= within < math.inf:
        raise Misconfigured(f"take({n}, within={within!r}): within must be a number of seconds, at least 0")


def explain(error: BaseException) -> None:
    """Add a hint to the error if an event was used as its record, or a partition's events as one event.

    The hint is added to Python's own error: giving these classes a `__getattr__` would make every attribute
    of an event three times as slow.
    """
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            explain(part)
    if not isinstance(error, AttributeError) or not error.name or error.name.startswith("_"):
        return
    if isinstance(error.obj, Event):
        hint = (
            "this is the event as it is stored; iterate over `events.records()` to get records, or take "
            f"`event.record().{error.name}`"
        )
    elif isinstance(error.obj, Events):
        hint = (
            "a processor function is called for a partition, with all its events; iterate over them, as in "
            "`async for order in events.records():`"
        )
    else:
        return
    text = described(error, str)
    if hint not in text:
        error.args = (f"{text}: {hint}",)


async def _nothing() -> AsyncIterator[Any]:
    return
    yield


def _only_decides(link: Middleware) -> bool:
    """Whether a link takes no part in the chain, because it only decides about failures."""
    own = type(link)
    return own.handler is Middleware.handler and own.on_failure is not Middleware.on_failure


def _last(item: Event | list[Event]) -> int:
    """The number of the last event of what the function was given."""
    if isinstance(item, Event):
        return item._number
    return item[-1]._number if item else -1


def _listed(item: Event | list[Event]) -> list[Event]:
    return [item] if isinstance(item, Event) else item
