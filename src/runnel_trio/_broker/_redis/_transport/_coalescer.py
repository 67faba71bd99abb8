"""Many tasks that send one entry each: what waits for the same exchange travels as one shipment.

A request each, with its ticket, its batch and its reply, would cost several times what Trio needs to stop a
task and to resume it; and so many objects that wait at once keep the garbage collector busy.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, TypeAlias, cast

import attrs
import outcome
import trio

from runnel_trio._broker._redis._transport._batcher import Batcher, Ticket
from runnel_trio._broker._redis._transport._sender import SendRequest, Shipment
from runnel_trio._broker._values import SEALED, Appended, Batch, StreamSpec

__all__ = ["SendCoalescer"]

_Sends: TypeAlias = Batcher[SendRequest, dict[int, Appended]]

#: Entries in one shipment. Of more tasks, some are resumed and send again while the server has what others
#: sent: a thousand tasks are a fifth faster than when they all travel at once.
_MOST = 300


@attrs.define(eq=False)
class _OpenShipment:
    """A shipment that tasks join until it leaves."""

    stream: StreamSpec
    names: Sequence[bytes]
    batcher: _Sends
    left: bool = attrs.field(default=False, init=False)
    ticket: Ticket[Any] = attrs.field(init=False)
    _values: dict[int, dict[trio.lowlevel.Task, Sequence[bytes]]] = attrs.field(factory=dict, init=False)
    _count: int = attrs.field(default=0, init=False)
    _gone: set[trio.lowlevel.Task] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.ticket = self.batcher.put(self, self._settle, many=True)

    @property
    def weight(self) -> float:
        """As of a `SendRequest`: one that is full goes alone."""
        return self._count if self._count < _MOST else math.inf

    def seal(self) -> Shipment:
        """See `SendRequest`: later entries go into the next one."""
        self.left = True
        return Shipment(
            self.stream,
            {
                number: Batch(self.names, list(chain.from_iterable(values.values())))
                for number, values in self._values.items()
            },
        )

    def takes(self, names: Sequence[bytes]) -> bool:
        """Whether one more entry, of these fields, may go along."""
        return not self.left and self._count < _MOST and self.names == names

    def join(self, number: int, values: Sequence[bytes]) -> Awaitable[Mapping[int, Appended]]:
        """Take an entry of the current task along."""
        task = trio.lowlevel.current_task()
        waiting = self._values.get(number)
        if waiting is None:
            waiting = self._values[number] = {}
        waiting[task] = values
        self._count += 1
        waits = partial(self._withdraw, task, number)
        # The sender awaits it: a coroutine around it would be one more that a thousand tasks keep.
        return trio.lowlevel.wait_task_rescheduled(waits)  # noqa: ASYNC105

    def _withdraw(self, task: trio.lowlevel.Task, number: int, _: Any) -> trio.lowlevel.Abort:
        if self.left:
            if self.batcher.waiter.under_way:
                return trio.lowlevel.Abort.FAILED
            self._gone.add(task)
            return trio.lowlevel.Abort.SUCCEEDED
        del self._values[number][task]
        self._count -= 1
        if not self._values[number]:
            del self._values[number]
        if not self._values:
            self.left = True
            self.batcher.take_back(self.ticket)
        return trio.lowlevel.Abort.SUCCEEDED

    def _settle(self, result: outcome.Outcome[dict[int, Appended]]) -> None:
        self.left = True  # if it was refused, it had not
        waiting, self._values = self._values, {}
        if isinstance(result, outcome.Error):
            for task in [task for values in waiting.values() for task in values if task not in self._gone]:
                trio.lowlevel.reschedule(task, outcome.Error(result.error))
            return
        for number, count in result.unwrap().items():
            room, rest = (0, SEALED) if count is SEALED else (count, 0)
            taken, others = _shared({number: 1}), _shared({number: rest})
            for i, task in enumerate(waiting[number]):
                if task not in self._gone:
                    trio.lowlevel.reschedule(task, taken if i < room else others)


@attrs.frozen(eq=False)
class _Shared:
    """An outcome for any number of tasks: `outcome.Value` is for one, and costs 0.4 µs each."""

    value: Mapping[int, Appended]

    def unwrap(self) -> Mapping[int, Appended]:
        """As `outcome.Value.unwrap`; Trio asks for nothing else."""
        return self.value


def _shared(stored: Mapping[int, Appended]) -> outcome.Outcome[Any]:
    return cast("outcome.Outcome[Any]", _Shared(stored))


@attrs.define(eq=False)
class SendCoalescer:
    """What is sent over one connection.

    Attributes:
        batcher: carries it.
    """

    batcher: _Sends
    _open: dict[StreamSpec, _OpenShipment] = attrs.field(factory=dict, init=False)

    def send(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, Appended]]:
        """How many entries each partition took; to be awaited at once.

        A single entry, whose id the server gives, joins others that wait.
        """
        if len(batches) == 1 and not self.batcher.idle:
            ((number, batch),) = batches.items()
            if batch.ids is None and len(batch) == 1:
                return self._shipment_for(stream, batch.names).join(number, batch.values)
        return self.batcher.call(Shipment(stream, batches))

    def _shipment_for(self, stream: StreamSpec, names: Sequence[bytes]) -> _OpenShipment:
        shipment = self._open.get(stream)
        if shipment is None or not shipment.takes(names):
            shipment = self._open[stream] = _OpenShipment(stream, names, self.batcher)
        return shipment
