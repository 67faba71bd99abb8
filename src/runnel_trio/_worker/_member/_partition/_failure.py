"""Decides what becomes of the events that a call has failed with (`_rules/_failure`), and carries it out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from runnel_trio._broker._values import Output, ProcessorSpec, Quarantine
from runnel_trio._event import Event
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._report._traceback import formatted, is_from_terminal, note, said_elsewhere, shown_at
from runnel_trio._report._words import described, numbered
from runnel_trio._rules._backoff import Backoff
from runnel_trio._rules._cursor import after
from runnel_trio._rules._failure import Decision, Policies, Retry, SetAside, decide
from runnel_trio._scopes import holds_cancellation
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._parked_keys import Failed
from runnel_trio._worker._member._partition._events import Events
from runnel_trio._worker._member._partition._scope import PartitionScope
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import LeaseLost, ParkingFull, Poisoned
from runnel_trio.interfaces import Failure, Middleware

__all__ = ["FailureHandler"]

#: Characters of a traceback that are kept of a parked key, the last ones.
_MOST_TRACEBACK = 1000
_FULL = (
    "{:,} events are parked, and max_parked={:,}: make room with `runnel-trio parked retry` or `drop`, then "
    "resume the partition"
)


@attrs.define(eq=False, kw_only=True)
class FailureHandler:
    """One partition's failures.

    Attributes:
        processor: whose partition it is.
        module: name of the module that its function is in, for the commands that an operator may type.
        middleware: the links that may decide.
        policies: what happens when none of them does.
        backlog: the partition's entries.
        scope: what the function runs in.
        committer: commits what was done before.
        counts: the worker's, of events that did not go the usual way.
        meter: told of what fails.
        in_order: whether the partition's events are handled one after another.
        park_retry: when parked keys are tried again; None: when somebody says so.
        wall: the time of day, in seconds since 1970.
        halt: told of the exception that stops the worker.
        quarantine: why the partition is to stand still once its lanes have ended; None: it is not.
    """

    processor: ProcessorSpec
    module: str
    middleware: Sequence[Middleware]
    policies: Policies
    backlog: Backlog
    scope: PartitionScope
    committer: Committer
    counts: Tally
    meter: Meter | None
    in_order: bool
    park_retry: Backoff | None
    wall: Callable[[], float]
    halt: Callable[[BaseException], None]
    quarantine: Quarantine | None = attrs.field(default=None, init=False)

    def decide(self, events: Events[Any], error: BaseException) -> tuple[Decision, Sequence[Output]]:
        """What becomes of what a call has in hand, and what is stored elsewhere if it is set aside."""
        given_up = isinstance(error, LeaseLost) or holds_cancellation(error)
        in_hand = events.has_taken
        proposed: Decision | None = None
        outputs: Sequence[Output] = ()
        if isinstance(error, Exception) and in_hand and not given_up:
            proposed, outputs = self._proposed(events.failure(error))
        decision = decide(
            error,
            given_up=given_up,
            cancelled=self.scope.cancelled,
            in_hand=in_hand,
            proposed=proposed,
            policy=self.policies.of(error),
        )
        return self._possible(decision, error, events), outputs

    def _possible(self, decision: Decision, error: BaseException, events: Events[Any]) -> Decision:
        """The decision, unless it is to park something that cannot be parked."""
        failed = events.failed() if decision in {ExceptionPolicy.PARK, ExceptionPolicy.QUARANTINE} else []
        if decision is ExceptionPolicy.QUARANTINE and failed and all(event.parked for event in failed):
            return ExceptionPolicy.PARK  # nothing in the log has failed, so it need not stand still
        if decision is not ExceptionPolicy.PARK:
            return decision
        parked = self.backlog.parked
        if self.in_order or any(event._key() is None for event in failed):  # noqa: SLF001 (not for users)
            note(error, "It could not be parked: it has no key, or the processor does not go by keys.")
        elif not parked.has_room(sum(not event.parked for event in failed)):
            note(error, _FULL.format(parked.count, parked.most))
        else:
            return decision
        return ExceptionPolicy.QUARANTINE

    def _proposed(self, failure: Failure) -> tuple[Decision | None, Sequence[Output]]:
        """What the rules say, and what is to be stored elsewhere then."""
        found = [_ask(link, failure) for link in self.middleware]
        for proposed in sorted(found, key=lambda x: not isinstance(x, Retry)):
            outputs = proposed.prepare() if isinstance(proposed, SetAside) else ()
            if proposed is not None and outputs is not None:
                return proposed, outputs
        return None, ()

    async def carry_out(self, error: BaseException, events: Events[Any]) -> None:
        """Do what was decided about a call that has ended with this error.

        Cancellation: nothing is acknowledged that was not before.
        """
        decision, ids = events.decision, events.ids_in_hand()
        if not isinstance(error, Exception):
            self.leave(error, ids)
        elif not (self.scope.cancelled or self.quarantine):
            await self.committer.settle(self.backlog)
            await self._carry_out(decision, error, events, ids)
        elif decision is ExceptionPolicy.HALT:
            self.halt(error)
        else:  # raised on the way out of a cancellation: the events have not failed
            report(logging.ERROR, "failed-when-cancelled", place=self._place, error=shown_at(error, ""))

    async def _carry_out(
        self, decision: Decision | None, error: Exception, events: Events[Any], ids: Sequence[bytes]
    ) -> None:
        if isinstance(decision, Retry):
            self._measure("retried", len(ids))
            await self._retry(decision, error, events)
        elif isinstance(decision, SetAside):
            self._report("set-aside", error, ids, events.last_in_hand)
            events.finish_failed()
            await self.committer.settle(self.backlog)
        elif decision is ExceptionPolicy.IGNORE:
            self._report("ignored", error, ids, events.last_in_hand)
            events.finish_failed()
        elif decision is ExceptionPolicy.PARK:
            self._park(error, events)
            await self.committer.settle(self.backlog)
        elif decision is ExceptionPolicy.QUARANTINE:
            self._quarantine(error, ids)
        elif any(event.parked for event in events.failed()):
            self._park(error, events)  # else the next worker would begin with it, and halt too
            await self.committer.settle(self.backlog)
            self._halt(error)
        elif ids:
            self._halt_over(error, ids)
        else:
            self._measure("halted", 0)
            self._halt(error)

    def leave(self, failure: BaseException, ids: Sequence[bytes] = ()) -> None:
        """End the worker over what no policy is for: `SystemExit` and the like say what is to end."""
        is_news = not (isinstance(failure, Exception) or is_from_terminal(failure))
        if is_news and ids:
            self._halt_over(failure, ids)
            return
        if is_news:
            report(logging.ERROR, "halted", place=self._place, count=0, error=shown_at(failure, ""))
        self._halt(failure)

    def _halt_over(self, failure: BaseException, ids: Sequence[bytes]) -> None:
        """End the worker over these events, and say how to leave them out."""
        # With many lanes, a cursor behind these would leave out others, too.
        more = {"leave_out": self._leave_out(ids)} if self.in_order else {}
        self._report("halted", failure, ids, -1, **more)
        self._halt(failure)

    def _halt(self, failure: BaseException) -> None:
        self.halt(failure)
        self.backlog.close()

    async def _retry(self, decision: Retry, error: Exception, events: Events[Any]) -> None:
        """Let the keys wait, or the lane, so that order is kept; an end of the partition cuts this short."""
        facts = {"attempt": events.attempt, "seconds": round(decision.pause, 3), "error": shown_at(error, "")}
        report(logging.WARNING, "retry", place=self._place, **facts)
        events.count_try()
        if decision.hold == "key" and events.put_off(decision.pause):
            return
        with trio.move_on_after(decision.pause):
            while not self.backlog.closed:
                await self.backlog.changed()

    def _park(self, error: Exception, events: Events[Any]) -> None:
        """Move the events that have failed aside, each to the list of its key; others of that key follow."""
        failed: dict[int, Failed] = {}
        traceback, now, parked = formatted(error), self.wall(), self.backlog.parked
        for event in events.failed():
            key = event._key() or b""  # noqa: SLF001 (not for users)
            before = parked.heads[key].rounds if event.parked and key in parked.heads else 0
            pause = self.park_retry.pause(before + 1) if self.park_retry else None
            if isinstance(error, Poisoned):
                pause = None  # it would end processes again, for ever
            facts = attrs.evolve(
                parked.describe(event),
                error=said_elsewhere(error),
                traceback=traceback[-_MOST_TRACEBACK:],
                by=self.backlog.lease.owner,
            )
            again = 0 if pause is None else int((now + pause) * 1000)
            failed[event._number] = Failed(facts, events.attempt, again)  # noqa: SLF001 (not for users)
        ids = [event.xid for event in events.failed()]
        name = f"{self.module}:{self.processor.name}"
        self._report("parked", error, ids, look=f"`runnel-trio parked list {name}`")
        events.park(failed)

    def quarantine_when_full(self, event: Event) -> None:
        """Let the partition stand still: there is no room for an event of a parked key."""
        if self.quarantine is None:
            parked = self.backlog.parked
            self._quarantine(ParkingFull(_FULL.format(parked.count, parked.most)), [event.xid])

    def _quarantine(self, error: Exception, ids: Sequence[bytes]) -> None:
        """Let the partition stand still when its other lanes have ended; other partitions go on."""
        self.quarantine = Quarantine(
            partition=self.backlog.number,
            first=ids[0],
            last=ids[-1],
            count=len(ids),
            error=said_elsewhere(error),
            traceback=formatted(error),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            member=self.backlog.lease.owner,
            ids=() if self.in_order else tuple(ids),
        )
        self._report("quarantined", error, ids, resume=self._command("resume {}"))
        self.backlog.close()
        self.scope.drain()

    def _report(
        self, fact: str, failure: BaseException, ids: Sequence[bytes], last: int = -1, **more: str
    ) -> None:
        self.counts[self.processor.name, fact] += len(ids)
        self._measure(fact.replace("-", "_"), len(ids), last)
        xid = ids[0].decode()
        facts = {"place": self._place, "xid": xid, "count": len(ids), "error": shown_at(failure, xid)}
        report(logging.ERROR, fact, **facts, **more)

    def _measure(self, then: str, count: int, last: int = -1) -> None:
        if self.meter is not None:
            self.meter.failed(self.backlog, then, count, last)

    @property
    def _place(self) -> str:
        return numbered(self.processor.stream.name, [self.backlog.number])

    def _leave_out(self, ids: Sequence[bytes]) -> str:
        behind = b"%d-%d" % after(ids[-1])
        return self._command(f"seek {{}} {behind.decode()}")

    def _command(self, what: str) -> str:
        """What an operator would type about this partition."""
        name = f"{self.module}:{self.processor.name}"
        return f"`runnel-trio processor {what.format(name)} --partition {self.backlog.number}`"


def _ask(link: Middleware, failure: Failure) -> Decision | None:
    """What a link decides; nothing where it fails itself or answers with something else."""
    name, fault = type(link).__name__, None
    try:
        proposed = link.on_failure(failure)
    except Exception as error:
        fault = said_elsewhere(error)
    else:
        if proposed is None or isinstance(proposed, Decision):
            return proposed
        fault = f"{described(proposed)} is no decision"
    place = numbered(failure.stream, [failure.partition.number])
    report(logging.ERROR, "not-decided", place=place, link=name, error=fault)
    note(failure.error, f"{name}.on_failure could not decide about it: {fault}")
    return None
