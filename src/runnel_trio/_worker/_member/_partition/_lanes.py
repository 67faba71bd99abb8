"""As many copies of the processor function over one partition as have something to do, and no more.

A lane is started when an event could be handed out while every lane waits for something of the user's. So
handlers that never wait run in one lane, at the speed of one.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._event import Event, Origin
from runnel_trio._scopes import holds_cancellation
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._event_queue import EventQueue
from runnel_trio._worker._member._partition._key_dispatcher import KeyDispatcher
from runnel_trio._worker._member._partition._lane import Lane
from runnel_trio._worker._member._partition._loading import LoadingDispatcher
from runnel_trio._worker._member._partition._poison import PoisonGuard
from runnel_trio._worker._member._partition._replays import Replays
from runnel_trio._worker._member._partition._table_mover import TableMover

__all__ = ["Lanes"]


@attrs.define(eq=False, kw_only=True)
class Lanes:
    """The lanes of one partition.

    Attributes:
        broker: where the lists of parked keys are.
        processor: whose.
        backlog: the partition's entries.
        origin: what the events say of where they come from.
        make_lane: makes a lane over a queue of events.
        most: how many there may be.
        max_ahead, poison_guard, on_full: see `KeyDispatcher`.
        hurry: have the backlog committed now.
    """

    broker: Broker
    processor: ProcessorSpec
    backlog: Backlog
    origin: Origin
    make_lane: Callable[[EventQueue], Lane]
    most: int
    max_ahead: int
    poison_guard: PoisonGuard | None
    hurry: Callable[[Backlog], None]
    on_full: Callable[[Event], None]
    dispatcher: KeyDispatcher = attrs.field(init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _running: int = attrs.field(default=0, init=False)
    _raised: list[BaseException] = attrs.field(factory=list, init=False)
    _mover: TableMover | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        kind = KeyDispatcher if self.backlog.tables is None else LoadingDispatcher
        self.dispatcher = kind(
            self.backlog, self.origin, self.max_ahead, self._look, self.poison_guard, self.on_full
        )
        self.dispatcher.replays = Replays(
            broker=self.broker,
            processor=self.processor,
            backlog=self.backlog,
            origin=self.origin,
            hurry=self.hurry,
            is_busy=self.dispatcher.is_busy,
            is_arriving=self.dispatcher.is_arriving,
            load_key=self.dispatcher.load_key if isinstance(self.dispatcher, LoadingDispatcher) else None,
            hand_out=self.dispatcher.hand_out,
            withdraw=self.dispatcher.withdraw,
        )
        if self.poison_guard is not None:
            self.poison_guard.are_parked_due = lambda: self.dispatcher.replays.are_due
        if isinstance(self.dispatcher, LoadingDispatcher):
            self._mover = TableMover(
                broker=self.broker,
                processor=self.processor,
                backlog=self.backlog,
                is_idle=self.dispatcher.is_idle,
            )

    def move_to(self, stage: ProcessorSpec) -> None:
        """The stream has got other partitions: what is kept here of keys goes there."""
        self.dispatcher.replays.move_to(stage)
        if self._mover is not None:
            self._mover.move_to(stage)

    async def run(self) -> None:
        """Until the backlog is closed, and each lane has ended what it had in hand.

        Raises:
            BaseException: what a function makes of its cancellation, when it is cancelled.
        """
        async with trio.open_nursery() as nursery:
            self._start(nursery)
            nursery.start_soon(self.dispatcher.replays.run)
            if isinstance(self.dispatcher, LoadingDispatcher):
                nursery.start_soon(self.dispatcher.load)
            if self._mover is not None:
                nursery.start_soon(self._mover.run)
            while True:
                with trio.move_on_at(self.dispatcher.next_due):
                    await self._changed.wait()
                self._changed = trio.Event()
                self.dispatcher.asked = False
                self.dispatcher.release_due()
                if self._may_start() and self.dispatcher.available(1):
                    self._start(nursery)
        if self._raised:
            raise self._raised[0]

    def _may_start(self) -> bool:
        dispatcher = self.dispatcher
        return not dispatcher.inside and dispatcher.lanes < self.most and not self.backlog.closed

    def _look(self) -> None:
        self._changed.set()

    def _start(self, nursery: trio.Nursery) -> None:
        self._running += 1
        lane = self.make_lane(self.dispatcher.queue())
        name = f"{lane.processor.name}[{self.backlog.number}].{self.dispatcher.lanes}"
        nursery.start_soon(self._run, lane, nursery, name=name)

    async def _run(self, lane: Lane, nursery: trio.Nursery) -> None:
        try:
            await lane.run()
        except BaseException as error:  # by value, so that the nursery has nothing to wrap
            if holds_cancellation(error):
                raise
            self._raised.append(error)
        finally:
            self._running -= 1
            if not self._running:
                nursery.cancel_scope.cancel()
