"""The log of the command line, on stderr. Only here are handlers configured: a library has none."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from runnel_trio._kinds import redacted_text
from runnel_trio._telemetry import NAMES, LogContext
from runnel_trio._words import described, encodable
from runnel_trio.settings import Settings

__all__ = ["Console", "JSONLines", "as_json", "configure"]


class Console(logging.Formatter):
    """Time, level, logger if it is not ours, message: for people.

    Args:
        worker: its number among those of a supervisor, shown before each line; 0: none.
    """

    def __init__(self, worker: int = 0) -> None:
        mark = f"[{worker}] " if worker else ""
        super().__init__(f"{mark}%(asctime)s.%(msecs)03d %(levelname)-7s %(place)s%(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback if there is one; without passwords of servers."""
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
    """One JSON object a line: for machines. The values of a fact are keys of their own."""

    def format(self, record: logging.LogRecord) -> str:
        """The object; what has no JSON is shown as text, and no password of a server at all."""
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
    """Hands each line on."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """As every handler: a line that cannot be written stops nobody."""
        try:
            self._write(self.format(record))
        except Exception:
            self.handleError(record)


def configure(
    settings: Settings,
    write: Callable[[str], None],
    *,
    log_format: str | None = None,
    log_level: str | None = None,
    worker: int = 0,
) -> None:
    """Log as the settings say, unless the user's own modules have configured logging.

    Args:
        settings: what is logged, and how.
        write: writes a line.
        log_format: wins over the settings.
        log_level: as that.
        worker: the number of this one among several, for `Console`.
    """
    root = logging.getLogger()
    if any(not isinstance(handler, _Handler) for handler in root.handlers):
        if log_format or log_level:
            write("--log-format and --log-level change nothing: the app's modules have configured logging")
        return
    handler = _Handler(write)
    json_lines = (log_format or settings.log_format) == "json"
    handler.setFormatter(JSONLines() if json_lines else Console(worker))
    handler.addFilter(LogContext())
    root.handlers[:] = [handler]
    root.setLevel((log_level or settings.log_level).upper())


def as_json() -> bool:
    """Whether the log is for machines, so that nothing else should come between its lines."""
    return any(isinstance(handler.formatter, JSONLines) for handler in logging.getLogger().handlers)
