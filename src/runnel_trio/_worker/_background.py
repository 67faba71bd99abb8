"""What an app runs beside its processors: tasks, timers and crontabs, on every worker or on the leader.

    Backgrounds ─┬─ _Runner ...        what every worker runs
                 └─ Leadership ── term: _Runner ...    what the leader runs, in every term anew

When the worker stops, no new run begins. A timer's or crontab's run in progress may finish within the grace
period; a task, which may be meant to run for ever, is cancelled.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, tzinfo
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._names import name_of, source_line
from runnel_trio._report._telemetry import Running, handling, report
from runnel_trio._report._traceback import formatted, is_from_terminal
from runnel_trio._report._words import described
from runnel_trio._rules._schedule import Crontab, next_tick
from runnel_trio._scopes import holds_cancellation, unwrapped
from runnel_trio._worker._heartbeat import Heartbeat
from runnel_trio._worker._leadership import Leadership
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import Misconfigured
from runnel_trio.settings import Settings

__all__ = ["BackgroundTask", "Backgrounds"]

#: Seconds after which a waiting crontab looks at the time of day again: somebody may have set the clock.
_SLICE = 10.0
#: A clock that is set back by more seconds than this was wrong before: the next run is computed anew.
_SETBACK = 3 * 3600.0


def _policy(given: ExceptionPolicy | str) -> ExceptionPolicy:
    try:
        policy = ExceptionPolicy(given)
    except ValueError:
        policy = ExceptionPolicy.QUARANTINE
    if policy in {ExceptionPolicy.QUARANTINE, ExceptionPolicy.PARK}:
        raise Misconfigured(
            f"exception_policy={given!r}: a background function has no partition that could stand still, and "
            "no keys; "
            "'halt' ends the worker, 'ignore' logs the error and goes on"
        )
    return policy


@attrs.frozen(kw_only=True)
class BackgroundTask:
    """A function registered with `App.task`, `App.timer` or `App.crontab`.

    Attributes:
        function: what runs.
        on_leader: whether it runs only on the leader.
        interval: for a timer, the seconds from run to run.
        spec: for a crontab, when it runs.
        timezone: the time zone of ``spec``.
        exception_policy: what happens when it raises.

    Raises:
        Misconfigured: a value that cannot be used.

    Example:
        >>> from runnel_trio import App
        >>> app = App("example")
        >>> @app.timer(interval=10)
        ... async def every_10_seconds(): ...
        >>> app.background[0].interval
        10.0
    """

    function: Callable[[], Awaitable[Any]]
    on_leader: bool = False
    interval: float | None = None
    spec: str | None = None
    timezone: tzinfo | None = None
    exception_policy: ExceptionPolicy = attrs.field(default=ExceptionPolicy.HALT, converter=_policy)

    def __attrs_post_init__(self) -> None:
        if not inspect.iscoroutinefunction(self.function):
            name, place = name_of(self.function), source_line(self.function)
            raise Misconfigured(f"{name} must be an async function: `async def …` ({place})")
        wanted = [
            name
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}
        ]
        if wanted:
            raise Misconfigured(
                f"{self.name} is called without arguments, and wants {', '.join(wanted)}: give a default"
            )

    @property
    def is_task(self) -> bool:
        """Whether it runs only once, from the start."""
        return self.interval is None and self.spec is None

    @property
    def name(self) -> str:
        """The name of the function."""
        return name_of(self.function)


def _always() -> bool:
    """The default: functions of every worker may begin at any time."""
    return True


@attrs.define(eq=False, kw_only=True)
class _Runner:
    """Runs one function when it is due, from now until drained or cancelled.

    Attributes:
        work: the function.
        member: this worker's id.
        wall: the time of day.
        grace_period: seconds that a run under way may take to end.
        halt: called with an exception that ends the worker.
        may_begin: says before each run whether it may begin.
    """

    work: BackgroundTask
    member: str
    wall: Callable[[], float]
    grace_period: float
    halt: Callable[[BaseException], None]
    may_begin: Callable[[], bool]
    _draining: bool = attrs.field(default=False, init=False)
    _idle: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _busy: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def drain(self) -> None:
        """Begin no more runs; one in progress may finish within the grace period."""
        if not self._draining:
            self._draining = True
            self._idle.cancel()
            grace = 0.0 if self.work.is_task else self.grace_period
            self._busy.deadline = trio.current_time() + grace

    def abort(self) -> None:
        """Cancel the run in progress."""
        self.drain()
        self._busy.cancel()

    async def run(self) -> None:
        handling.set(Running(member=self.member, function=self.work.name))
        if self.work.interval is not None:
            await self._timer(self.work.interval)
        elif self.work.spec is not None and self.work.timezone is not None:
            await self._crontab(Crontab(self.work.spec, self.work.timezone))
        else:
            await self._call()

    async def _timer(self, interval: float) -> None:
        began, last = trio.current_time(), 0
        while not self._draining:
            last, skipped = next_tick(began, interval, last, trio.current_time())
            self._tell_of_skipped(skipped)
            with trio.CancelScope() as self._idle:
                await trio.sleep_until(began + last * interval)
            await self._call()

    async def _crontab(self, crontab: Crontab) -> None:
        settled = self.wall()
        self._tell_of_first(crontab, crontab.after(settled))
        while not self._draining:
            due = crontab.after(settled)
            if await self._until(due):
                await self._call()
                settled = max(due, self.wall())
                self._tell_of_skipped(crontab.between(due, settled))
            else:
                settled = self.wall()

    async def _until(self, due: float) -> bool:
        """Wait until a time of day. False if the clock was set back by hours meanwhile."""
        latest = self.wall()
        with trio.CancelScope() as self._idle:
            while (now := self.wall()) < due:
                if now < latest - _SETBACK:
                    return False
                latest = max(latest, now)
                await trio.sleep(min(_SLICE, due - now))
        return True

    def _tell_of_first(self, crontab: Crontab, due: float) -> None:
        """Log the first run, which shows how the spec was read: other programs put the second in front."""
        facts = {"function": self.work.name, "spec": repr(crontab.spec)}
        if crontab.second:
            facts["second"] = crontab.second
        first = datetime.fromtimestamp(due, crontab.zone).isoformat(timespec="seconds")
        report(logging.INFO, "scheduled", **facts, first=first)

    def _tell_of_skipped(self, count: int) -> None:
        if count:
            report(logging.WARNING, "runs-skipped", function=self.work.name, count=count)

    async def _call(self) -> None:
        """Run the function once, and handle what it raises, even if it raises while it is being cancelled."""
        if self._draining:
            return
        if not self.may_begin():
            await trio.lowlevel.checkpoint()  # the cancellation at the end of the term arrives here
            return
        try:
            with trio.CancelScope() as self._busy:
                try:
                    await self.work.function()
                except BaseExceptionGroup as group:
                    cancelled, errors = group.split(trio.Cancelled)
                    if cancelled is None or errors is None:
                        raise
                    self._failed(errors)
                    raise cancelled from None
        except BaseException as error:
            if holds_cancellation(error):
                raise
            self._failed(error)
        if self._busy.cancelled_caught and not self.work.is_task:
            report(logging.WARNING, "run-cancelled", function=self.work.name)

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, Exception):  # no policy applies to `SystemExit` and the like
            error = unwrapped(error)
            if not is_from_terminal(error):
                report(logging.ERROR, "halted", function=self.work.name, error=described(error))
            self.halt(error)
        elif self.work.exception_policy is ExceptionPolicy.HALT:
            self.halt(error)
        else:
            facts = {
                "function": self.work.name,
                "error": described(error),
                "traceback": f"\n{formatted(error)}",
            }
            report(logging.ERROR, "background-failed", **facts)


@attrs.define(eq=False, kw_only=True)
class Backgrounds:
    """All that an app runs beside its processors.

    Attributes:
        broker: decides who leads, and gives the time of day.
        functions: what to run.
        app: the app's name.
        settings: the app's settings.
        member: this worker's id.
        about: what other workers are told about it.
        heartbeat: keeps its session.
        halt: called with an exception that ends the worker.
    """

    broker: Broker
    functions: Sequence[BackgroundTask]
    app: str
    settings: Settings
    member: str
    about: str
    heartbeat: Heartbeat
    halt: Callable[[BaseException], None]
    _leadership: Leadership | None = attrs.field(default=None, init=False)
    _running: list[_Runner] = attrs.field(factory=list, init=False)
    _draining: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if any(work.on_leader for work in self.functions):
            self._leadership = Leadership(
                broker=self.broker,
                app=self.app,
                member=self.member,
                about=self.about,
                expiry=self.settings.default_lock_expiry,
                poll_interval=self.settings.leadership_poll_interval / 1000,
                heartbeat=self.heartbeat,
                halt=self.halt,
            )

    def drain(self) -> None:
        """Begin no more runs; those in progress may finish within the grace period."""
        self._draining = True
        for runner in self._running:
            runner.drain()
        if self._leadership is not None:
            self._leadership.end()

    def abort(self) -> None:
        """Cancel the runs in progress."""
        self.drain()
        for runner in self._running:
            runner.abort()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run everything until drained. Has started when it is known who leads, if that matters."""
        async with trio.open_nursery() as nursery:
            if self._leadership is not None:
                term = partial(self._all, on_leader=True, may_begin=self._leadership.lasts)
                await nursery.start(self._leadership.run, term)
            task_status.started()
            await self._all(on_leader=False, may_begin=_always)

    async def _all(self, *, on_leader: bool, may_begin: Callable[[], bool]) -> None:
        """Run the functions of the leader, or of every worker, until the last one has ended."""
        runners = [
            _Runner(
                work=work,
                member=self.member,
                wall=self.broker.wall,
                grace_period=self.settings.default_grace_period,
                halt=self.halt,
                may_begin=may_begin,
            )
            for work in self.functions
            if work.on_leader is on_leader
        ]
        self._running += runners
        if self._draining:
            self.drain()
        try:
            async with trio.open_nursery() as nursery:
                for runner in runners:
                    nursery.start_soon(runner.run, name=runner.work.name)
        finally:
            self._running = [runner for runner in self._running if runner not in runners]
