"""Which worker of an app is the leader, and the functions that only it runs.

The workers that have functions for a leader are the members of one party, and the leader is the one that has
been in it longest. So there is no election and no lock: the server keeps the order of the members, all of
them see the same order, and the next leader is known before it is needed.

    FOLLOWER ──all before it are gone──▶ LEADER ──stop()──▶ ends its tasks, then leaves: the next one leads
                                           │
                                           └─ not heard by the server for 0.9 of its session, or removed: its
                                              tasks are cancelled at once, and it is a FOLLOWER again

A leader's tasks are cancelled before its session is over: it gives up, by its own clock, before others can
remove it by the server's clock. A process that was frozen finds out when it wakes, and at the same moment
everything that fell due is ready to run. So each run first checks whether the term still lasts (`lasts`),
because a run without an await could no longer be cancelled. Not covered are code that cancelling cannot end
(a thread, a shielded scope) and a run that was frozen half-way: if a leader's tasks must never overlap, they
need a fence of their own where they write.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from runnel_trio._broker._protocol import Parties
from runnel_trio._broker._values import AppSpec
from runnel_trio._report._telemetry import report
from runnel_trio._scopes import LAST_WORDS, helpers, run_guarded, shielded
from runnel_trio._worker._heartbeat import Heartbeat
from runnel_trio._worker._member._session import MemberSession

__all__ = ["Leadership"]

#: The part of `expiry` for which a session survives without heartbeats; others end it a quarter later.
_LASTS = 0.8


@attrs.define(eq=False, kw_only=True)
class Leadership:
    """A worker's part in the leadership of its app.

    Attributes:
        broker: where the party is.
        app: its name.
        member: this worker's id.
        about: what others are told of it.
        expiry: seconds after which a leader that is not heard of is followed by the next one.
        poll_interval: seconds between two looks at who leads, when no news come.
        heartbeat: keeps its session.
        halt: told of what ends the worker.
    """

    broker: Parties
    app: str
    member: str
    about: str
    expiry: float
    poll_interval: float
    heartbeat: Heartbeat
    halt: Callable[[BaseException], None]
    _session: MemberSession = attrs.field(init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _joining: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _term: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._session = MemberSession(
            broker=self.broker,
            party=AppSpec(self.app),
            member=self.member,
            expiry=self.expiry * _LASTS,
            about=self.about,
            on_removed=self._removed,
            on_beat=self._look_again,
        )

    @property
    def leads(self) -> bool:
        """Whether this worker is the leader now."""
        view = self._session.view
        return bool(view.members) and view.members[0].id == self.member and not self._session.lapsed

    def lasts(self) -> bool:
        """Whether the term still lasts, by this machine's clock; check this before each run.

        A term that is over is cancelled, whoever finds it out first.
        """
        if not self.leads:
            self._term.cancel()
        return not self._term.cancel_called

    def end(self) -> None:
        """Stop leading, once the current term is over."""
        self._ended = True
        self._joining.cancel()
        self._changed.set()

    async def run(
        self,
        term: Callable[[], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run ``term`` whenever this worker leads, until `end`. Started when the leader is known."""
        try:
            with self._joining:
                await run_guarded(self.halt, self._session.beat)
            self.heartbeat.keep(self._session)
            async with helpers() as nursery:
                nursery.start_soon(run_guarded, self.halt, self._listen)
                task_status.started()
                while not self._ended:
                    await (self._lead(term) if self.leads else self._change())
        finally:
            self.heartbeat.drop(self._session)
            with shielded(LAST_WORDS):
                await run_guarded(self.halt, self._session.leave)

    async def _lead(self, term: Callable[[], Awaitable[None]]) -> None:
        report(logging.INFO, "leads", app=self.app, member=self.member)
        with trio.CancelScope() as self._term:
            async with helpers() as nursery:
                nursery.start_soon(self._end_when_lapsed)
                await term()
                while not self._ended:
                    await self._change()
        if self._term.cancelled_caught:
            report(logging.WARNING, "leads-no-more", app=self.app, member=self.member)

    async def _change(self) -> None:
        """Wait until there is news, or it should end."""
        if not self._ended:
            self._changed = trio.Event()
            await self._changed.wait()

    async def _end_when_lapsed(self) -> None:
        """End the term when the server has not heard from this worker for too long."""
        while not self._session.lapsed:
            await trio.sleep(max(0.0, self._session.validity.until - self.broker.clock()))
        self._term.cancel()

    def _removed(self) -> None:
        """We were removed as dead, so another may lead, or have led: end what runs here first."""
        self._term.cancel()

    def _look_again(self) -> None:
        # Trio's clock, by which `_end_when_lapsed` sleeps, stands still while the machine sleeps.
        if self._session.lapsed:
            self._term.cancel()
        self._changed.set()

    async def _listen(self) -> None:
        """Listen for members that join or leave, and also check now and then."""
        await self._session.listen(self.poll_interval, lambda _: self._session.beat(), most=100)
