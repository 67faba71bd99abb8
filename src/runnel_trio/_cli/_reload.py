"""``--reload``: watches the Python files in the current directory, with watchfiles."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import trio

from runnel_trio._report._telemetry import report
from runnel_trio.exceptions import Misconfigured

__all__ = ["changes", "check_extra"]

#: Milliseconds without a further change until changes are reported, and the most that may pass until then.
_QUIET, _LONGEST = 50, 1600
#: Milliseconds after which the watching thread checks again whether it should stop.
_SLICE = 500


def check_extra() -> None:
    """Check that watchfiles is installed.

    Raises:
        Misconfigured: it is not installed.
    """
    if find_spec("watchfiles") is None:
        raise Misconfigured('--reload needs watchfiles: pip install "runnel-trio[reload]"')


async def changes(
    tell: Callable[[Sequence[str]], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Call ``tell`` in Trio with the files that have changed, until cancelled. Has started when it watches.

    It does not use `watchfiles.awatch`, a generator with a nursery inside, which may be closed anywhere.
    """
    from watchfiles import PythonFilter, watch

    ended = threading.Event()
    here = os.getcwd()
    soon = trio.lowlevel.current_trio_token().run_sync_soon
    watching = False

    def began() -> None:
        nonlocal watching
        if not watching:
            watching = True
            report(logging.INFO, "watching", directory=here)
            task_status.started()

    def look() -> None:
        for found in watch(
            here,
            watch_filter=PythonFilter(),
            debounce=_LONGEST,
            step=_QUIET,
            stop_event=ended,
            rust_timeout=_SLICE,
            yield_on_timeout=True,  # the first timeout shows that it watches
            raise_interrupt=False,
        ):
            soon(began)
            if found:
                soon(tell, sorted(os.path.relpath(path, here) for _, path in found))

    try:
        await trio.to_thread.run_sync(look, abandon_on_cancel=True)
    finally:
        ended.set()
