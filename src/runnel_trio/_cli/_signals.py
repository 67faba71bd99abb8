"""SIGINT and SIGTERM: the first asks for a graceful end, the second for one at once.

After the second, signals do what they do elsewhere: a third Ctrl-C is a KeyboardInterrupt, a third SIGTERM
kills. Only the command line listens; a worker that is embedded in a program leaves signals to it.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import trio

__all__ = ["obey"]


async def obey(
    first: Callable[[int], None],
    second: Callable[[int], None],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Call ``first`` and ``second`` with the number of the signal; started when signals are listened to."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        action = first
        async for number in signals:
            action(number)
            if action is second:
                return
            action = second
