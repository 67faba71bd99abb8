"""Declarations of what an app runs beside its processors: tasks, timers and crontabs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import tzinfo
from typing import Any, TypeVar, overload

from runnel_trio._rules._schedule import Crontab, checked_interval
from runnel_trio._worker._background import BackgroundTask
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.settings import Settings

__all__ = ["BackgroundTasks"]

_Task = TypeVar("_Task", bound=Callable[[], Awaitable[Any]])


class BackgroundTasks:
    """The declared background tasks of an app.

    Attributes:
        settings: the app's settings.
        background: what was registered.
    """

    settings: Settings

    def __init__(self) -> None:
        self.background: list[BackgroundTask] = []

    @overload
    def task(self, func: _Task) -> _Task: ...
    @overload
    def task(
        self, func: None = None, *, on_leader: bool = False, exception_policy: ExceptionPolicy | str = "halt"
    ) -> Callable[[_Task], _Task]: ...

    def task(
        self, func: Any = None, *, on_leader: bool = False, exception_policy: ExceptionPolicy | str = "halt"
    ) -> Any:
        """Register an async function to run when a worker starts; it may run until it is cancelled.

        Args:
            func: the function.
            on_leader: run it only on the leader, at the start of each of its terms (docs/guide/background).
            exception_policy: what an exception does: "halt" ends the worker with it, "ignore" logs it.

        Raises:
            Misconfigured: it is not an async function without arguments, or the policy cannot be used.

        Example:
            >>> from runnel_trio import App
            >>> app = App("example")
            >>> @app.task
            ... async def on_startup():
            ...     print("starting")
            >>> @app.task(on_leader=True)
            ... async def once():
            ...     print("running once")
        """
        register = self._registrar(on_leader=on_leader, exception_policy=exception_policy)
        return register if func is None else register(func)

    def timer(
        self, *, interval: float, on_leader: bool = False, exception_policy: ExceptionPolicy | str = "ignore"
    ) -> Callable[[_Task], _Task]:
        """Register an async function to run every ``interval`` seconds, first after one ``interval``.

        Args:
            interval: seconds from the start of one run to the start of the next.
            on_leader: on the lead worker only.
            exception_policy: what an exception does: "ignore" logs it, "halt" ends the worker with it.

        Raises:
            Misconfigured: the interval is not positive, it is not an async function without arguments, or the
                policy cannot be used.

        Example:
            >>> from runnel_trio import App
            >>> app = App("example")
            >>> @app.timer(interval=10)
            ... async def every_10_seconds():
            ...     print("10 seconds passed")
        """
        every = checked_interval(interval)
        return self._registrar(on_leader=on_leader, interval=every, exception_policy=exception_policy)

    def crontab(
        self,
        spec: str,
        *,
        timezone: tzinfo | None = None,
        on_leader: bool = False,
        exception_policy: ExceptionPolicy | str = "ignore",
    ) -> Callable[[_Task], _Task]:
        """Register an async function to run at fixed times.

        Args:
            spec: a cron expression: five fields, or six with seconds at the end, or ``@hourly`` and the like.
            timezone: the time zone of the expression; by default the setting ``timezone``.
            on_leader: on the lead worker only.
            exception_policy: what an exception does: "ignore" logs it, "halt" ends the worker with it.

        Raises:
            Misconfigured: ``spec`` is not a cron expression, it is not an async function without arguments,
                or the policy cannot be used.

        Example:
            >>> from runnel_trio import App
            >>> app = App("example")
            >>> @app.crontab("45 17 * * *")
            ... async def every_5_45_pm():
            ...     print("It is 5:45pm UTC")
        """
        when = Crontab(spec, timezone or self.settings.timezone)
        return self._registrar(
            on_leader=on_leader, spec=when.spec, timezone=when.zone, exception_policy=exception_policy
        )

    def _registrar(self, **options: Any) -> Callable[[_Task], _Task]:
        def register(function: _Task) -> _Task:
            self.background.append(BackgroundTask(function=function, **options))
            return function

        return register
