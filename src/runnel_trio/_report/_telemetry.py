"""Facts: each is one log line of the logger ``runnel_trio``; some are counted too.

A library configures no handlers: the command line does, or the embedding program. The context of a user's own
log record (which event was in hand) is looked up when the record is logged, so it costs nothing per event.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import attrs

from runnel_trio._report._words import described

__all__ = [
    "NAMES",
    "Handling",
    "LogContext",
    "Running",
    "Tally",
    "handling",
    "log_context",
    "logger",
    "report",
]

#: By processor and fact (``ignored``, ``set-aside``, ``quarantined``, ``events-lost``): how many events.
Tally = Counter[tuple[str, str]]

#: Characters of a value that stand in a line: a traceback has many.
_MOST = 1 << 17

logger = logging.getLogger("runnel_trio")
logger.addHandler(logging.NullHandler())


def report(level: int, fact: str, **values: Any) -> None:
    """Log one fact: a kebab-case name with values, which are kept separately in ``record.facts``.

    It is never called per event: the hot path is silent.
    """
    if logger.isEnabledFor(level):
        told = " ".join(f"{name}={described(value, str, _MOST)}" for name, value in values.items())
        logger.log(level, "%s", f"{fact} {told}".rstrip(), extra={"fact": fact, "facts": values})


@attrs.frozen(kw_only=True)
class Handling:
    """A processor function that runs in one of our tasks.

    Attributes:
        member: the worker's id.
        processor: its name.
        partition: number of the partition that it is called for.
        first_in_hand: the id of the event in hand, or of the first of several; None between events.
    """

    member: str
    processor: str
    partition: int
    first_in_hand: Callable[[], bytes | None]

    def told(self) -> dict[str, Any]:
        """For `log_context`."""
        xid = self.first_in_hand()
        return {
            "member": self.member,
            "processor": self.processor,
            "partition": self.partition,
            "xid": None if xid is None else xid.decode(),
        }


@attrs.frozen(kw_only=True)
class Running:
    """A task, a timer or a crontab that runs.

    Attributes:
        member: the worker's id.
        function: its name.
    """

    member: str
    function: str

    def told(self) -> dict[str, Any]:
        """For `log_context`."""
        return {"member": self.member, "function": self.function}


#: Set once for each partition's task, never for an event, and for each function that runs beside; tasks and
#: threads that these start inherit it.
handling: ContextVar[Handling | Running | None] = ContextVar("runnel_trio_handling", default=None)
#: All that a record can be given.
NAMES = ("member", "processor", "partition", "xid", "function")


def log_context() -> dict[str, Any]:
    """What the calling code is handling, for logs and traces.

    Returns:
        In a processor function, ``member``, ``processor``, ``partition`` and ``xid``: the id of the event in
        hand, or of the first event of a list, or None between events. In a task, a timer or a crontab,
        ``member`` and ``function``. Elsewhere, nothing.

    Example:
        Inside a processor function, with a logging library of your own::

            log.info("paid", order=order.order_id, **log_context())
    """
    now = handling.get()
    return {} if now is None else now.told()


class LogContext(logging.Filter):
    """A filter for your handlers: gives every log record the attributes of `log_context`, or None.

    ``runnel-trio run`` has it on its own handler. Attributes that a record already has are kept.

    Example:
        >>> import logging
        >>> from runnel_trio import LogContext
        >>> handler = logging.StreamHandler()
        >>> handler.addFilter(LogContext())
        >>> handler.setFormatter(logging.Formatter("%(processor)s[%(partition)s] %(xid)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Every record passes."""
        found = log_context()
        for name in NAMES:
            if not hasattr(record, name):
                setattr(record, name, found.get(name))
        return True
