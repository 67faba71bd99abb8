"""``runnel-trio run --workers N``: starts workers, restarts those that end, and replaces them on SIGHUP.

    Supervisor ─┬─ _keep, one a slot:   start ──▶ here ──▶ ready ──▶ ended ──▶ backoff ─┐
                │                         ▲──────────────────────────────────────────────┘
                ├─ _roll, on SIGHUP:    slot by slot: start a new one, when it is ready stop the old one
                ├─ _change, --reload:   stop all, and start them again
                ├─ _attend, one a child: hears it, until it has ended
                └─ _hold:               the embedded server that all share

It imports none of the user's code, so workers that it starts later run the code that is in the files then.
The first worker tells it what it must know about the app (the log's format, an embedded server, the grace
period). The others start after that, so an error in the app is reported only once.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from runnel_trio._cli._child import Backoff, Child
from runnel_trio._cli._errors import Exit
from runnel_trio._cli._leash import HERE
from runnel_trio._cli._reload import changes
from runnel_trio._cli._signals import handling_signals, hangups
from runnel_trio._embedded._guard import HOLDER
from runnel_trio._embedded._server import embedded_server
from runnel_trio._report._telemetry import logger, report
from runnel_trio._report._words import counted
from runnel_trio._scopes import helpers
from runnel_trio.exceptions import RunnelError

__all__ = ["Supervisor"]

#: Exit codes with which the next worker would end too.
_HOPELESS = frozenset({Exit.USAGE, Exit.REFUSED, Exit.CONFIG})
#: After so many such ends the supervisor ends too, if workers have worked before and none works now.
_HOPE = 3


@attrs.define(eq=False)
class _Slot:
    """One of the supervisor's workers, which several processes are in turn.

    Attributes:
        number: its number, from 1.
        child: the present process.
        successor: the process that takes over as soon as the present one has ended.
        again: whether the present one was asked to end so that another can begin.
        poked: set when the slot must not wait any longer.
    """

    number: int
    child: Child | None = None
    successor: Child | None = None
    again: bool = False
    backoff: Backoff = attrs.field(factory=Backoff)
    poked: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False, kw_only=True)
class Supervisor:
    """Runs workers until it is told to stop.

    Attributes:
        arguments: the arguments of ``run`` for each worker.
        workers: how many workers to run.
        reload: whether to restart them when a file changes; one that ends by itself then waits for a change.
        configured: called with what the first worker says about its app, to configure the log.
    """

    arguments: Sequence[str]
    workers: int
    reload: bool
    configured: Callable[[dict[str, Any]], None]
    _slots: list[_Slot] = attrs.field(factory=list, init=False)
    _children: set[Child] = attrs.field(factory=set, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _urgency: int = attrs.field(default=0, init=False)
    _signal: int = attrs.field(default=0, init=False)
    _code: int = attrs.field(default=0, init=False)
    _rolls: int = attrs.field(default=0, init=False)
    _hopeless: int = attrs.field(default=0, init=False)
    _worked: bool = attrs.field(default=False, init=False)
    _known: trio.Event = attrs.field(factory=trio.Event, init=False)
    _facts: dict[str, Any] | None = attrs.field(default=None, init=False)
    _over: trio.Event = attrs.field(factory=trio.Event, init=False)
    _directory: str = attrs.field(default="", init=False)

    async def run(self) -> int:
        """Run until all workers have ended, because a signal asked for that or none of them can work.

        Returns:
            The exit code: 0 when all ended gracefully, 128 + the signal's number when a second one cut that
            short, else that of a worker.
        """
        self._slots = [_Slot(number) for number in range(1, self.workers + 1)]
        with (
            handling_signals(self._stop, self._abort, self._kill),
            _thrown_away() as self._directory,
        ):
            async with trio.open_nursery() as self._nursery:
                async with helpers() as beside:
                    with hangups(self._hung_up, self._stop):
                        if self.reload:
                            await beside.start(changes, self._change)
                        await self._keep_all()
                self._over.set()
        if self._urgency > 1:
            return 128 + self._signal
        report(logging.INFO, "supervisor-stopped", code=self._code)
        return self._code

    async def _keep_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for slot in self._slots:
                nursery.start_soon(self._keep, slot)
                await self._known.wait()

    # What signals do

    def _stop(self, number: int) -> None:
        said = f"stopping {counted(self.workers, 'worker')} gracefully; once more to stop at once"
        self._end(1, number, said)

    def _abort(self, number: int) -> None:
        self._end(2, number, "stopping the workers at once; once more to kill them")

    def _kill(self, number: int) -> None:
        self._end(3, number, "killing the workers")

    def _end(self, urgency: int, number: int, said: str) -> None:
        logger.info("%s: %s", signal.Signals(number).name, said)
        self._signal = number
        self._hurry(urgency)

    def _hurry(self, urgency: int) -> None:
        """End all workers, and start none any more."""
        self._urgency = max(urgency, self._urgency)
        for child in self._children:
            self._urge(child)
        self._known.set()
        for slot in self._slots:
            slot.poked.set()

    def _urge(self, child: Child) -> None:
        if self._urgency == 1:
            child.stop()
        elif self._urgency == 2:
            child.abort()
        elif self._urgency == 3:
            child.kill()

    def _hung_up(self) -> None:
        self._rolls += 1
        if self._rolls == 1 and not self._urgency:
            self._nursery.start_soon(self._roll)

    # One process after the other in one slot

    async def _keep(self, slot: _Slot) -> None:
        while not self._urgency:
            slot.again, slot.poked = False, trio.Event()
            slot.child, slot.successor = slot.successor, None
            if slot.child is None:
                slot.child = await self._begin(slot.number)
            if slot.child is not None:
                await slot.child.ended.wait()
            if not (self._urgency or slot.successor or slot.again):
                await self._pause(slot, slot.child)

    async def _begin(self, number: int) -> Child | None:
        """Start a worker; None if the system cannot start a process."""
        try:
            child = await Child.start(
                self.arguments, number=number, of=self.workers, directory=self._directory
            )
        except OSError as error:
            report(logging.ERROR, "worker-not-started", worker=number, error=error)
            return None
        self._children.add(child)
        self._nursery.start_soon(self._attend, child)
        self._urge(child)
        return child

    async def _attend(self, child: Child) -> None:
        await child.attend(self._hear)
        self._children.discard(child)
        if self._urgency and child.here.is_set():
            self._code = self._code or child.code

    def _hear(self, child: Child, word: str) -> None:
        if word == HERE:
            if self._facts is None:
                self._facts = child.facts
                self.configured(child.facts)
                report(logging.INFO, "supervising", workers=self.workers)
                self._nursery.start_soon(self._hold, child.facts["url"])
            self._known.set()
        else:
            self._worked, self._hopeless = True, 0

    async def _pause(self, slot: _Slot, child: Child | None) -> None:
        """Report a worker that has ended by itself, and wait before the next one begins."""
        code = child.code if child is not None else int(Exit.SOFTWARE)
        lived = child.lived if child is not None else 0.0
        facts: dict[str, Any] = {"worker": slot.number}
        if child is not None:
            facts |= {"pid": child.pid, "how": child.how}
        if self.reload:
            report(logging.ERROR, "worker-ended", **facts, then="waits for a change of a file")
            self._known.set()
            await slot.poked.wait()
        elif self._is_hopeless(code, child):
            report(logging.ERROR, "worker-ended", **facts, then="none can work: the supervisor ends")
            self._code = code
            self._hurry(1)
        else:
            seconds = slot.backoff.after(lived)
            report(logging.ERROR, "worker-ended", **facts, lived=round(lived, 1), again_in=seconds)
            with trio.move_on_after(seconds):
                await slot.poked.wait()

    def _is_hopeless(self, code: int, child: Child | None) -> bool:
        """Whether the next worker would end in the same way, so that the supervisor should give up.

        If none has ever worked, one such end is enough, else it takes `_HOPE` of them. As long as another
        worker works, the supervisor does not give up.
        """
        if code not in _HOPELESS or child is None or child.ready.is_set():
            return False
        self._hopeless += 1
        at_work = any(x.ready.is_set() for x in self._children)
        return not at_work and (not self._worked or self._hopeless >= _HOPE)

    # Replacing all workers

    async def _roll(self) -> None:
        """Replace all workers, one after the other; once more if that was asked for meanwhile."""
        while self._rolls and not self._urgency:
            self._rolls = 1
            began = trio.current_time()
            report(logging.INFO, "rolling", workers=self.workers)
            for slot in self._slots:
                if not await self._replace(slot):
                    break
            else:
                report(logging.INFO, "rolled", seconds=round(trio.current_time() - began, 1))
            self._rolls -= 1
        self._rolls = 0

    async def _replace(self, slot: _Slot) -> bool:
        """Start the next worker of a slot, and stop the present one once that is ready; False if it fails."""
        fresh = await self._begin(slot.number)
        if fresh is not None:
            await _either(fresh.ready, fresh.ended)
        if self._urgency:
            return False
        if fresh is None or not fresh.ready.is_set():
            how = "not started" if fresh is None else fresh.how
            then = "the old workers go on; SIGHUP tries again"
            report(logging.ERROR, "roll-given-up", worker=slot.number, how=how, then=then)
            return False
        slot.successor = fresh
        slot.poked.set()
        if slot.child is not None and not await slot.child.retire():
            report(logging.WARNING, "worker-overdue", worker=slot.number, then="it was stopped by force")
        return True

    def _change(self, files: Sequence[str]) -> None:
        """Restart all workers, because files have changed."""
        if self._urgency:
            return
        report(logging.INFO, "changed", files=",".join(files))
        for slot in self._slots:
            slot.again = True
            slot.poked.set()
        for child in self._children:
            self._nursery.start_soon(child.retire)

    # The embedded server

    async def _hold(self, url: str | None) -> None:
        """Keep the embedded server of the workers until they have ended, so that it outlives each of them."""
        if url is None or self._directory not in url:  # so nobody will use it
            shutil.rmtree(self._directory, ignore_errors=True)
        if url is None:
            return
        try:
            async with embedded_server(url):
                await self._over.wait()
        except RunnelError as error:
            report(logging.WARNING, "embedded-server-not-held", error=error)


@contextmanager
def _thrown_away() -> Iterator[str]:
    """A directory for an embedded server whose data is removed after the last worker.

    It is removed here, or, should this process be killed, by the server's guard.
    """
    with (
        tempfile.TemporaryDirectory(prefix="runnel-", ignore_cleanup_errors=True) as directory,
        open(os.path.join(directory, HOLDER), "wb") as file,
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
        yield directory


async def _either(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:

        async def wait(event: trio.Event) -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
