"""Acknowledgements leave here, coalesced: one round trip commits whatever all partitions have processed.

Nothing waits for it in the ordinary way, so it rests a little between two commits: at full speed a commit
then carries hundreds of events, and the server and its replicas hear of it once. Who must wait
(`max_unacked`, a drain) hurries it.

Why a commit needs two guards: the lease's owner and epoch refuse an owner that was replaced; comparing the
cursor with the one that this owner left refuses its *own* commit that was delayed on the way and would move
the cursor back, and notices an operator's rewind and a server that lost its last writes. Each of the two
was seen to let a real fault through alone. A third one refuses a cursor behind the end of the log: a failover
that lost the last writes can have lost a commit among them, whose repetition finds the cursor as expected.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import compress
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import Commit, CommitOutcome, ProcessorSpec, StreamSpec
from runnel_trio._report._telemetry import report
from runnel_trio._report._words import numbered
from runnel_trio._stream import Stream
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._meter import Meter

__all__ = ["Committer"]

#: Between two commits, when nobody waits: so many times as long as the last one took; least and most seconds.
#: (A thousand partitions take 30 ms: with a fixed rest that would be a third of all work.)
_REST, _LEAST_REST, _MOST_REST = 5.0, 0.02, 0.25
#: Seconds until a commit whose outputs found no room is tried again.
_ROOM = 0.25
#: Seconds until it is told that replicas do not have a commit.
_MISSED = 3.0


@attrs.define(eq=False, kw_only=True)
class Committer:
    """Commits what backlogs have done.

    Attributes:
        broker: where they are committed.
        processor: whose they are.
        replicas: how many must have a commit before it counts.
        sinks: streams that outputs may go to.
        meter: told of what is committed.
    """

    broker: Broker
    processor: ProcessorSpec
    replicas: int = 0
    sinks: Sequence[Stream[Any]] = ()
    meter: Meter | None = None
    _dirty: dict[int, Backlog] = attrs.field(factory=dict, init=False)
    _urgent: bool = attrs.field(default=False, init=False)
    _called: trio.Event | None = attrs.field(default=None, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def mark(self, backlog: Backlog) -> None:
        """It has processed something: commit it with the next batch."""
        if not backlog.marked:
            backlog.marked = not backlog.closed
            self._call_for(backlog)

    def hurry(self, backlog: Backlog) -> None:
        """Somebody waits for it: commit now."""
        if backlog.unacknowledged and not backlog.lost:
            self._urgent = True
            backlog.marked = not backlog.closed
            self._call_for(backlog)

    def refresh(self, backlog: Backlog) -> None:
        """Somebody else may have changed the lists of its parked keys: look, and then commit."""
        backlog.parked.is_stale = True
        self._urgent = True
        self._call_for(backlog)

    def _call_for(self, backlog: Backlog) -> None:
        self._dirty[backlog.number] = backlog
        if self._called is not None:
            self._called.set()

    async def settle(self, backlog: Backlog) -> None:
        """Wait until everything that is done by now is on the server, or can no longer get there.

        What finds no room elsewhere is not waited for at the end of a partition: the next owner handles it.
        """
        wanted = backlog.count
        while backlog.lacks(wanted) and not (backlog.lost or self._ended):
            self.hurry(backlog)
            await backlog.changed()
            if backlog.full and backlog.closed:
                return

    async def run(self) -> None:
        """Commit until cancelled."""
        while True:
            while (due_at := min((x.retry_at for x in self._dirty.values()), default=math.inf)) > (
                began := trio.current_time()
            ):
                with trio.move_on_at(due_at):
                    await self._call()
            self._urgent = False
            await self._commit()
            if not self._urgent:
                took = trio.current_time() - began
                with trio.move_on_after(min(max(_LEAST_REST, _REST * took), _MOST_REST)):
                    while not self._urgent:
                        await self._call()

    async def _call(self) -> None:
        self._called = trio.Event()
        await self._called.wait()
        self._called = None

    async def _commit(self) -> None:
        await self._refresh_stale()
        for backlog in self._dirty.values():
            backlog.marked = False
        now = trio.current_time()
        backlogs = [x for x in self._dirty.values() if x.unacknowledged and not x.lost and x.retry_at <= now]
        self._dirty = {number: x for number, x in self._dirty.items() if x.retry_at > now and not x.lost}
        commits = [backlog.commit() for backlog in backlogs]
        began = trio.current_time()
        try:
            outcomes = await self.broker.commit(self.processor, commits)
            if self.replicas:
                done = [x is CommitOutcome.COMMITTED for x in outcomes]
                await self._replicated(list(compress(commits, done)))
        except BaseException:
            self._end(backlogs)
            raise
        count = sum(map(self._heed, backlogs, commits, outcomes))
        if self.meter is not None and backlogs:
            done = [x is CommitOutcome.COMMITTED for x in outcomes]
            refused = sum(x in {CommitOutcome.FENCED, CommitOutcome.REWOUND} for x in outcomes)
            seconds = trio.current_time() - began
            self.meter.committed(list(compress(backlogs, done)), count, refused, seconds)
        await self._redirect_all(backlogs, outcomes)

    def _heed(self, backlog: Backlog, commit: Commit, outcome: CommitOutcome) -> int:
        """Let a backlog know what has become of its commit; how many events more are on the server."""
        if outcome is CommitOutcome.COMMITTED:
            count = backlog.acknowledged(commit)
            if backlog.is_cut:
                self.hurry(backlog)
            return count
        if outcome is CommitOutcome.FULL:
            self._wait_for_room(backlog)
        elif outcome is CommitOutcome.CHANGED:
            self.refresh(backlog)
        elif outcome is not CommitOutcome.SEALED:
            self._refused(backlog, commit, outcome)
        return 0

    def _refused(self, backlog: Backlog, commit: Commit, outcome: CommitOutcome) -> None:
        """What is not committed is to be done again, by whoever owns the partition next."""
        place = numbered(self.processor.stream.name, [backlog.number])
        if outcome is CommitOutcome.TOUCHED:
            report(logging.INFO, "table-touched", place=place)
        else:
            was = commit.previous.decode()
            report(logging.WARNING, "commit-refused", place=place, why=outcome.value, was=was)
        backlog.lose()

    async def _refresh_stale(self) -> None:
        """Ask for the heads of parked keys that somebody has changed: no commit of ours is on its way now."""
        while stale := [x for x in self._dirty.values() if x.parked.is_stale and not x.lost]:
            backlog = stale[0]  # others may become so meanwhile
            try:
                heads = await self.broker.parked_heads(self.processor, backlog.number)
            except BaseException:
                self._end([backlog])
                raise
            backlog.parked.refresh(heads)

    async def _redirect_all(self, backlogs: Sequence[Backlog], outcomes: Sequence[CommitOutcome]) -> None:
        for backlog, outcome in zip(backlogs, outcomes, strict=True):
            if outcome is CommitOutcome.SEALED:
                await self._redirect(backlog)

    async def _redirect(self, backlog: Backlog) -> None:
        """A stream that outputs go to has got other partitions: let them go there."""
        current: dict[StreamSpec, StreamSpec] = {}
        try:
            for stream in {output.stream for output in backlog.effects.outputs}:
                current[stream] = (await self.broker.reconcile_layout(stream)).current
        except BaseException:
            self._end([backlog])
            raise
        before = backlog.effects.outputs
        for sink in self.sinks:
            sink.adopt(current.get(sink.spec, sink.spec))
        backlog.effects.redirect(current, backlog.number)
        if backlog.effects.outputs != before:
            self.hurry(backlog)
        else:
            self._wait_for_room(backlog)  # nothing is known that would help

    def _wait_for_room(self, backlog: Backlog) -> None:
        """Try again after a while."""
        if not backlog.full:
            outputs = backlog.effects.outputs
            where = sorted({numbered(output.stream.name, [output.partition]) for output in outputs})
            report(logging.WARNING, "no-room", partition=backlog.number, waits_for=",".join(where))
        backlog.refused(trio.current_time() + _ROOM)
        self._dirty[backlog.number] = backlog

    def _end(self, backlogs: Sequence[Backlog]) -> None:
        """Nobody commits any more: let nobody wait for it."""
        self._ended = True
        for backlog in [*backlogs, *self._dirty.values()]:
            backlog.announce()

    async def _replicated(self, commits: list[Commit]) -> None:
        wanted, told = self.replicas, False
        while (
            commits and await self.broker.commit_replicated(self.processor, commits, wanted, _MISSED) < wanted
        ):
            if not told:
                told = True
                report(logging.WARNING, "not-replicated", processor=self.processor.name, wanted=wanted)
