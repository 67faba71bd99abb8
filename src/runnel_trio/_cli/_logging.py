"""The log of the command line, on stderr. Only here are handlers configured: a library has none.

If the user's own modules configure logging, their handlers and levels apply instead. But a worker must not be
silent by accident. `logging.config` disables every logger that it does not name, unless told otherwise, and a
`logging.NullHandler` counts as a handler; neither silences us. If a configuration still drops lines that the
settings ask for, ``run`` says so once.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from runnel_trio._report._redaction import redacted_text
from runnel_trio._report._telemetry import NAMES, LogContext, logger
from runnel_trio._report._words import described, encodable
from runnel_trio.settings import Settings

__all__ = ["Console", "JSONLines", "configure", "told_to_machines"]


class Console(logging.Formatter):
    """For people: time, level, logger if it is not ours, and message.

    Args:
        worker: the number of this worker under a supervisor, shown before each line; 0 without a supervisor.
    """

    def __init__(self, worker: int = 0) -> None:
        mark = f"[{worker}] " if worker else ""
        super().__init__(f"{mark}%(asctime)s.%(msecs)03d %(levelname)-7s %(place)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One line, with the traceback if there is one, and without passwords of servers."""
        record.place = ""
        if not record.name.startswith("runnel_trio"):
            processor, function = getattr(record, "processor", None), getattr(record, "function", None)
            where = f" {function}" if function else ""
            if processor:
                xid = getattr(record, "xid", None)
                where = f" {processor}[{getattr(record, 'partition', None)}] {xid or '-'}"
            record.place = f"{record.name}{where}: "
        return encodable(redacted_text(super().format(record)))


class JSONLines(logging.Formatter):
    """For machines: one JSON object per line. The values of a fact are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The object as text. Values that JSON does not have become strings; passwords are left out."""
        fact = getattr(record, "fact", None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": fact if fact is not None else record.getMessage(),
        }
        context = {name: getattr(record, name, None) for name in NAMES}
        values = {name: value for name, value in context.items() if value is not None}
        values |= getattr(record, "facts", {})
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        line.update({f"{name}_" if name in line else name: value for name, value in values.items()})
        shown = {name: _shown(value) if isinstance(value, str) else value for name, value in line.items()}
        return encodable(json.dumps(shown, default=_shown, ensure_ascii=False))


def _shown(value: Any) -> str:
    return redacted_text(described(value, str))


class _Handler(logging.Handler):
    """Hands each formatted line to a function."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line. As with every handler, a line that cannot be written stops nobody."""
        try:
            self._write(self.format(record))
        except Exception:
            self.handleError(record)


class _Enabled(logging.Logger):
    """A logger that ``disable_existing_loggers``, which is on by default, never disables."""

    @property
    def disabled(self) -> bool:
        """Never. A level, or a handler that takes nothing, silences a logger instead."""
        return False

    @disabled.setter
    def disabled(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride] (on purpose)
        pass


def configure(
    settings: Settings,
    write: Callable[[str], None],
    *,
    log_format: str | None = None,
    log_level: str | None = None,
    worker: int = 0,
    remarks: bool = False,
) -> None:
    """Log as the settings say, unless the user's own modules have configured logging.

    Args:
        settings: say what is logged, and how.
        write: writes a line.
        log_format: takes precedence over the settings.
        log_level: likewise.
        worker: the number of this worker among several, for `Console`.
        remarks: whether to say which of our lines the user's configuration leaves out.
    """
    logger.__class__ = _Enabled
    wanted = (log_level or settings.log_level).upper()
    root = logging.getLogger()
    if any(map(_is_theirs, root.handlers)) or (logger.propagate and any(map(_is_theirs, logger.handlers))):
        if remarks and (log_format or log_level):
            write("--log-format and --log-level change nothing: the app's modules have configured logging")
    else:
        handler = _Handler(write)
        json_lines = (log_format or settings.log_format) == "json"
        handler.setFormatter(JSONLines() if json_lines else Console(worker))
        handler.addFilter(LogContext())
        root.handlers[:] = [handler]
        root.setLevel(wanted)
    remark = _left_out(logging.getLevelNamesMapping()[wanted]) if remarks else ""
    if remark and not told_to_machines(logging.WARNING, remark):
        write(remark)


def _is_theirs(handler: logging.Handler) -> bool:
    return not isinstance(handler, _Handler) and type(handler) is not logging.NullHandler


def _reached() -> Iterator[logging.Handler]:
    """The handlers that our lines reach."""
    place: logging.Logger | None = logger
    while place is not None:
        yield from (x for x in place.handlers if type(x) is not logging.NullHandler)
        place = place.parent if place.propagate else None


def _left_out(wanted: int) -> str:
    """Which lines from this level on are lost, and how to have them; empty if our level was set by name."""
    levels = [handler.level for handler in _reached()]
    if not levels:
        return (
            "the app's modules have configured logging so that no line of runnel-trio is shown: "
            "give the logger 'runnel_trio' a handler, or let it propagate"
        )
    if logger.manager.disable >= wanted:
        disabled = logging.getLevelName(logger.manager.disable)
        return (
            f"the app's modules call logging.disable({disabled}): no line of that level or below is shown. "
            "logging.disable(logging.NOTSET) ends that"
        )
    lowest = max(logger.getEffectiveLevel(), min(levels))
    if lowest <= wanted or lowest == logger.level:
        return ""
    name = logging.getLevelName(wanted)
    more = f"logging.getLogger('runnel_trio').setLevel({name!r}) shows more"
    if min(levels) > logger.getEffectiveLevel():
        more = f"a handler of level {name} shows more"
    level = logging.getLevelName(lowest)
    return f"the app's modules have configured logging so that runnel-trio is shown from {level} on: {more}"


def told_to_machines(level: int, text: str, **facts: Any) -> bool:
    """Write a line to the log if that is for machines, whatever the level. Returns whether it is.

    If it is, nothing else should be written between its lines.
    """
    own = [x for x in logging.getLogger().handlers if isinstance(x.formatter, JSONLines)]
    for handler in own:
        extra = {"facts": facts}
        handler.handle(logger.makeRecord(logger.name, level, "", 0, text, (), None, extra=extra))
    return bool(own)
