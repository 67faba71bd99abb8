"""The heartbeat of a worker: one thread keeps all its member sessions alive, whatever Trio does.

A handler that blocks Trio, with a long computation or a blocking call, must not lose its partitions: others
would take them, meet the same event, and lose them too. So heartbeats leave from a thread of their own. That
thread also watches the Trio thread, by a poke twice a second. If there is no answer for a second, it logs the
stack of the blocking function. If there is none for `stall_limit`, the heartbeats stop, because a worker that
does nothing should not keep its partitions.

On the memory broker, where time is Trio's, tasks do this instead.
"""

from __future__ import annotations

import logging
import math
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial

import attrs
import trio

from runnel_trio._broker._protocol import Parties, Pulse
from runnel_trio._report._telemetry import report
from runnel_trio._scopes import run_guarded
from runnel_trio._worker._member._session import MemberSession, keep
from runnel_trio.exceptions import BrokerUnavailable, RunnelError

__all__ = ["Heartbeat"]

#: Seconds between two looks at the Trio thread, and of silence after which it is told.
_LOOK, _STALLED = 0.5, 1.0
#: Seconds until a heartbeat that failed is tried again.
_AGAIN = 0.2
#: Frames of the culprit's stack that are logged.
_FRAMES = 8


@attrs.define(eq=False)
class _Life:
    """What the heartbeat thread knows about Trio's thread: when it last answered a poke."""

    on_stalled: Callable[[float], None] | None = None
    _seen: float = attrs.field(factory=time.monotonic)
    _looked: float = -math.inf
    _told: bool = False
    _told_end: bool = False

    def look(self, token: trio.lowlevel.TrioToken, ident: int) -> float:
        """Poke it; returns the seconds since its last answer, if it owes one."""
        now = time.monotonic()
        if now - self._looked > _LOOK + _STALLED:  # the whole process stood still
            self._seen = now
        # Whoever has answered the last poke is not silent, however long ago that was.
        silent = now - self._seen if self._seen < self._looked else 0.0
        self._looked = now
        if silent > _LOOK + _STALLED and not self._told:
            self._told = True
            stack = traceback.extract_stack(sys._current_frames().get(ident))[-_FRAMES:]
            where = "".join(traceback.format_list(stack))
            report(logging.WARNING, "stalled", seconds=round(silent, 1), stack=f"\n{where}")
        token.run_sync_soon(self._answer, idempotent=True)
        return silent

    def _answer(self) -> None:
        now = time.monotonic()
        if self._told:
            report(logging.WARNING, "stall-over", seconds=round(now - self._seen, 1))
            if self.on_stalled is not None:
                self.on_stalled(now - self._seen)
        self._seen, self._told, self._told_end = now, False, False

    def given_up(self, limit: float) -> None:
        """No more heartbeats leave: log that once."""
        if not self._told_end:
            self._told_end = True
            report(logging.ERROR, "stall-limit", seconds=limit, then="partitions go to other workers")


@attrs.define(eq=False, kw_only=True)
class Heartbeat:
    """Sends the heartbeats of member sessions until cancelled.

    Attributes:
        broker: where the seats are.
        stall_limit: seconds without a sign of life from the Trio thread after which it stops.
        halt: told of what ends the worker.
        on_stalled: told, in Trio, for how long something blocked it.
    """

    broker: Parties
    stall_limit: float
    halt: Callable[[BaseException], None]
    on_stalled: Callable[[float], None] | None = None
    _due: dict[MemberSession, float] = attrs.field(factory=dict, init=False)
    _end: threading.Event = attrs.field(factory=threading.Event, init=False)
    _life: _Life = attrs.field(init=False)
    _nursery: trio.Nursery | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._life = _Life(self.on_stalled)

    def keep(self, session: MemberSession) -> None:
        """Send heartbeats for this session too, from now until `drop`."""
        self._due[session] = time.monotonic() + session.interval
        if self._nursery is not None:
            self._nursery.start_soon(run_guarded, self.halt, partial(keep, session))

    def drop(self, session: MemberSession) -> None:
        """Stop the heartbeats of this session."""
        self._due.pop(session, None)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled."""
        pulse = self.broker.pulse()
        async with trio.open_nursery() as nursery:
            if pulse is None:
                self._nursery = nursery
            else:
                limiter = trio.CapacityLimiter(1)
                token, ident = trio.lowlevel.current_trio_token(), threading.get_ident()
                work = partial(self._thread, pulse, token, ident)
                nursery.start_soon(partial(trio.to_thread.run_sync, work, limiter=limiter))
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._end.set()
                if pulse is not None:
                    pulse.interrupt()

    def _thread(self, pulse: Pulse, token: trio.lowlevel.TrioToken, ident: int) -> None:
        try:
            while not self._end.wait(self._rest()):
                silent = self._life.look(token, ident)
                if silent > self.stall_limit:
                    self._life.given_up(self.stall_limit)
                else:
                    self._beat(pulse, token)
        except trio.RunFinishedError:
            pass
        except RunnelError as error:
            token.run_sync_soon(self.halt, error)
        finally:
            pulse.close()

    def _rest(self) -> float:
        now = time.monotonic()
        return max(0.0, min([_LOOK, *(due - now for due in list(self._due.values()))]))

    def _beat(self, pulse: Pulse, token: trio.lowlevel.TrioToken) -> None:
        now = time.monotonic()
        sessions = [session for session, due in list(self._due.items()) if due <= now]
        if not sessions:
            return
        started = self.broker.clock()
        try:
            views = pulse.send([session.next_beat() for session in sessions])
        except BrokerUnavailable:  # told by those who wait for it in Trio: they are to look for themselves
            self._put_off(sessions, time.monotonic() + _AGAIN)
            for session in sessions:
                token.run_sync_soon(session.on_beat)
            return
        for session, view in zip(sessions, views, strict=True):
            self._put_off([session], now + session.interval)
            session.answered(started, view)
            token.run_sync_soon(session.heard, started, view)

    def _put_off(self, sessions: list[MemberSession], until: float) -> None:
        for session in sessions:
            if session in self._due:
                self._due[session] = until
