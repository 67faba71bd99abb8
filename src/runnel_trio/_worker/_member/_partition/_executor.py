"""One owned partition: its processor function runs in a cancel scope of its own.

    RUNNING ──drain()──▶ DRAINING ──function returns, or grace is over──▶ settled, released
       └────────────── the partition is lost ──▶ cancelled, nothing committed

The executor owns the beginning and the end; calling the function is the lane's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import Acquired, ProcessorSpec, Quarantine
from runnel_trio._event import Origin, Partition
from runnel_trio._processor import Processor
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._report._words import numbered
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._scopes import helpers, holds_cancellation, unwrapped
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._meter import InHand, Meter
from runnel_trio._worker._member._partition._event_queue import EventQueue, InOrderQueue
from runnel_trio._worker._member._partition._failure import FailureHandler
from runnel_trio._worker._member._partition._lane import Lane
from runnel_trio._worker._member._partition._measured import MeasuredSource
from runnel_trio._worker._member._partition._poison import PoisonGuard
from runnel_trio._worker._member._partition._relay import Relay
from runnel_trio._worker._member._partition._scope import PartitionScope
from runnel_trio._worker._member._partition._source import Source
from runnel_trio._worker._member._validity import LeaseValidity

if TYPE_CHECKING:
    from runnel_trio._worker._member._partition._lanes import Lanes

__all__ = ["PartitionExecutor", "tell_of_standing"]


@attrs.define(eq=False, kw_only=True)
class PartitionExecutor:
    """Owns one partition's end: what it runs, how it ends, and that the lease is given up.

    Attributes:
        broker: where the lease is.
        processor: whose function runs.
        spec: the processor's, as the server has it.
        granted: the lease, and where the partition stood when it was granted.
        backlog: the partition's entries.
        committer: commits what is done.
        validity: until when the lease may be relied on.
        poison_guard: the care that the partition needs after a crash; None: none.
        counts: the worker's, of events that did not go the usual way.
        meter: told of what is handled and what fails; None: nobody measures.
        halt: told of the exception that stops the worker.
        scope: everything that runs for this partition.
    """

    broker: Broker
    processor: Processor[Any]
    spec: ProcessorSpec
    granted: Acquired
    backlog: Backlog
    committer: Committer
    validity: LeaseValidity
    poison_guard: PoisonGuard | None
    counts: Tally
    meter: Meter | None
    halt: Callable[[BaseException], None]
    scope: PartitionScope = attrs.field(init=False)
    _failures: FailureHandler = attrs.field(init=False)
    _lanes: Lane | Lanes = attrs.field(init=False)
    _relay: Relay | None = attrs.field(default=None, init=False)
    _released: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        processor = self.processor
        self.scope = PartitionScope(processor.grace_period)
        self.backlog.on_lost = self.scope.within.cancel
        self.backlog.on_passed = partial(self.committer.mark, self.backlog)
        if processor.outputs and self.broker.clustered:
            self._relay = self._make_relay()
        self._failures = self._make_failure_handler()
        self._lanes = self._make_lanes()

    @property
    def _by_key(self) -> bool:
        """Whether events are handed out by key: also where keys were parked before, or by hand."""
        return self.processor.by_key or self.granted.parked > 0

    @property
    def released(self) -> bool:
        """Whether the lease was given up, with a quarantine or by itself."""
        return self._released

    @property
    def in_hand(self) -> InHand | None:
        """What its lanes work on; None where there is one lane only."""
        return None if isinstance(self._lanes, Lane) else self._lanes.dispatcher.work()

    def drain(self) -> None:
        """Hand out nothing more; what is in hand may end within the grace period."""
        self.backlog.close()
        self.scope.drain()

    def refresh_parked(self) -> None:
        """An operator has changed what is parked; where events go in order, somebody who looks takes over."""
        if isinstance(self._lanes, Lane):
            self.drain()
        else:
            self.committer.refresh(self.backlog)

    def move_parked(self, stage: ProcessorSpec) -> None:
        """The stream has got other partitions: what is parked goes there, and then the tables do."""
        if not isinstance(self._lanes, Lane):
            self._lanes.move_to(stage)

    def abort(self) -> None:
        """Cancel what is in hand; what was handled is still committed, if that can be done at once."""
        self.backlog.close()
        self.scope.abort()

    async def run(self) -> None:
        """Until drained or lost: then everything handled is committed, and the lease given up."""
        try:
            with self.scope.within:
                if self.granted.parked:
                    self.backlog.parked.refresh(
                        await self.broker.parked_heads(self.spec, self.backlog.number)
                    )
                async with helpers() as helping:
                    if self._relay is not None:
                        helping.start_soon(self._relay.run)
                    await self._lanes.run()
        except BaseException as error:  # raised while it was being cancelled
            if holds_cancellation(error):
                raise
            self._failures.leave(unwrapped(error))
        finally:
            self.backlog.close()
            with self.scope.shielded(self.scope.seconds_left()):
                await self._give_up()
            if self.poison_guard is not None:
                self.poison_guard.end()
            if self.backlog.tables is not None:
                self.backlog.tables.end()

    def __repr__(self) -> str:
        backlog = self.backlog
        state = "LOST" if backlog.lost else "DRAINING" if backlog.closed else "RUNNING"
        where = f"{self.spec.stream.name}/{self.spec.name}[{backlog.number}]"
        at = backlog.processed.decode()
        return f"<PartitionExecutor {where} {state} at {at} backlog {backlog.waiting}>"

    def _origin(self) -> Origin:
        lease, stream = self.granted.lease, self.spec.stream
        return Origin(
            partition=Partition(
                number=lease.partition,
                key=self.broker.log_key(stream, lease.partition),
                epoch=lease.epoch,
                layout=stream.layout,
            ),
            group=self.processor.name.encode(),
            decode=self.processor.stream.decode,
            key_bytes=self.processor.stream.key_bytes,
            recovering_to=parse_id(self.granted.read_to or ORIGIN),
        )

    def _make_failure_handler(self) -> FailureHandler:
        """What decides about failed events."""
        processor = self.processor
        return FailureHandler(
            processor=self.spec,
            module=processor.function.__module__,
            middleware=processor.middleware,
            policies=processor.policies,
            backlog=self.backlog,
            scope=self.scope,
            committer=self.committer,
            counts=self.counts,
            meter=self.meter,
            in_order=not self._by_key,
            park_retry=processor.park_retry,
            wall=self.broker.wall,
            halt=self.halt,
        )

    def _make_lanes(self) -> Lane | Lanes:
        """What calls the function: one lane where events go in the order of the log, otherwise many."""
        processor = self.processor
        make_lane = partial(
            Lane,
            processor=self.spec,
            function=processor.function,
            middleware=processor.middleware,
            targets=processor.outputs,
            backlog=self.backlog,
            scope=self.scope,
            make_source=self._make_source,
            failures=self._failures,
            timeout=processor.timeout,
            halt=self.halt,
        )
        origin = self._origin()
        if not self._by_key:
            return make_lane(queue=InOrderQueue(self.backlog, origin))
        from runnel_trio._worker._member._partition._lanes import Lanes  # only needed by some processors

        return Lanes(
            broker=self.broker,
            processor=self.spec,
            backlog=self.backlog,
            origin=origin,
            make_lane=lambda queue: make_lane(queue=queue),
            most=processor.concurrency,
            max_ahead=processor.max_ahead,
            poison_guard=self.poison_guard,
            hurry=self.committer.hurry,
            on_full=self._failures.quarantine_when_full,
        )

    def _make_relay(self) -> Relay:
        """What brings emitted records to other nodes."""
        number, outputs = self.backlog.number, self.processor.outputs
        relay = Relay(broker=self.broker, processor=self.spec, number=number, targets=outputs)
        self.backlog.effects.by_outbox, self.backlog.on_outbox = True, relay.call
        return relay

    def _make_source(self, queue: EventQueue) -> Source:
        """A source for one call of the function.

        With a meter it is of another class, so that one which measures nothing has no step more for that.
        """
        kind = Source if self.meter is None else partial(MeasuredSource, meter=self.meter)
        return kind(
            queue=queue,
            max_unacked=self.processor.max_unacked,
            validity=self.validity,
            clock=self.broker.clock,
            processed=self.committer.mark,
            hurry=self.committer.hurry,
            poison_guard=self.poison_guard,
        )

    async def _give_up(self) -> None:
        if self.backlog.lost or self._released:
            return
        await self.committer.settle(self.backlog)
        if self._relay is not None:
            await self._relay.flush()
        why, lease = self._failures.quarantine, self.backlog.lease
        if why is None:
            await self.broker.release(self.spec, [lease])
            self._released = True
        elif await self.broker.quarantine(self.spec, lease, why):
            self._released = True
        else:
            self.backlog.lose()


def tell_of_standing(stream: str, why: Quarantine, member: str) -> None:
    """Log that a partition is in quarantine, or paused; not once more by the member that has put it there."""
    if why.member == member:
        return
    place = numbered(stream, [why.partition])
    if why.is_pause:
        report(logging.WARNING, "paused", place=place, since=why.time, by=why.member, reason=why.error)
    else:
        facts = {"xid": why.first.decode(), "since": why.time, "error": why.error}
        report(logging.ERROR, "stands-still", place=place, **facts)
