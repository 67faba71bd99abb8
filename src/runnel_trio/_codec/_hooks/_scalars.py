"""Hooks for the scalars that JSON does not have: each is stored as a string, exactly.

====================  ===============================================================================
bytes                 base64 with padding
datetime, date, time  ISO 8601; naive stays naive, aware keeps its offset (the zone's name is lost)
timedelta             ISO 8601 duration of seconds, ``PT90.5S``, ``-PT0.000001S``
Decimal               as ``str`` writes it: digits and exponent survive
UUID                  with dashes
====================  ===============================================================================
"""

from __future__ import annotations

import binascii
import functools
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Annotated, Any
from uuid import UUID

from runnel_trio._codec._fast._precheck import Precheck
from runnel_trio._codec._hooks._traits import Hook, Mismatch, MsgspecRead, refuse, trait

__all__ = ["SCALARS", "pass_datetime", "write_datetime"]

_DURATION = re.compile(
    r"(?P<sign>-)?P(?=.)(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,6}))?S)?)?",
    re.ASCII,
)
_SECOND = timedelta(seconds=1)
_MICROSECOND = timedelta(microseconds=1)
# "2024-W01-1" and shorter is a date without a time.
_LONGEST_DATE = 10
#: A condition, see `Traits.inline`. Other time zones may run users' code.
_PLAIN_DATETIME = "{v}.__class__ is datetime and ({v}.tzinfo is None or {v}.tzinfo is utc)"


_from_base64 = functools.partial(binascii.a2b_base64, strict_mode=True)


def _as_text(parse: Callable[[str], Any]) -> Callable[[ModuleType], MsgspecRead]:
    """Have msgspec read a string, and parse that with our own function.

    msgspec could read these types itself, but it rounds where `fromisoformat` cuts off, and accepts a number
    as a Decimal.
    """
    return lambda _: MsgspecRead(str, parse)


def _parsed(expected: str, value: Any, parse: Callable[[str], Any]) -> Any:
    """The result of `parse` for a string; raises the usual fault for anything else."""
    if value.__class__ is str:
        try:
            return parse(value)
        except (ValueError, ArithmeticError):
            pass
    raise refuse(expected, value)


@trait(exact=bytes, precheck=Precheck("{v}.__class__ is bytes"))
def write_bytes(value: Any) -> str:
    """Base64."""
    if not isinstance(value, bytes):
        raise refuse("bytes", value)
    return binascii.b2a_base64(value, newline=False).decode()


@trait(exact=bytes, msgspec_read=_as_text(_from_base64))
def read_bytes(value: Any, _: Any = None) -> bytes:
    """The inverse: base64 with its padding, and nothing else."""
    found: bytes = _parsed("bytes in base64", value, _from_base64)
    return found


@trait(exact=datetime, precheck=Precheck(_PLAIN_DATETIME))
def write_datetime(value: Any) -> str:
    """ISO 8601, with microseconds when there are any, with the offset when there is one, ``Z`` for UTC."""
    if not isinstance(value, datetime):
        raise refuse("datetime", value)
    text = datetime.isoformat(value)
    return f"{text[:-6]}Z" if value.tzinfo is UTC else text


@trait(exact=datetime, inline=_PLAIN_DATETIME, precheck=Precheck(_PLAIN_DATETIME))
def pass_datetime(value: Any) -> datetime | str:
    """Leave naive and UTC datetimes to serializers that write them in the same form, but faster."""
    if value.__class__ is datetime and (value.tzinfo is None or value.tzinfo is UTC):
        return value
    return write_datetime(value)


def _msgspec_read_datetime(msgspec: ModuleType) -> MsgspecRead:
    longer = msgspec.Meta(min_length=_LONGEST_DATE + 1)
    return MsgspecRead(Annotated[str, longer], datetime.fromisoformat)


@trait(exact=datetime, msgspec_read=_msgspec_read_datetime)
def read_datetime(value: Any, _: Any = None) -> datetime:
    """ISO 8601 with date and time, ``Z`` included."""
    if value.__class__ is str and len(value) > _LONGEST_DATE:
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise refuse("datetime in ISO 8601", value)


@trait(exact=date, precheck=Precheck("{v}.__class__ is date"))
def write_date(value: Any) -> str:
    """ISO 8601; a datetime is no date."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise refuse("date", value)
    return date.isoformat(value)


@trait(exact=date, msgspec_read=_as_text(date.fromisoformat))
def read_date(value: Any, _: Any = None) -> date:
    """ISO 8601, without a time."""
    found: date = _parsed("date in ISO 8601", value, date.fromisoformat)
    return found


@trait(exact=time, precheck=Precheck("{v}.__class__ is time and {v}.tzinfo is None"))
def write_time(value: Any) -> str:
    """ISO 8601."""
    if not isinstance(value, time):
        raise refuse("time", value)
    if value.tzinfo is not None and value.utcoffset() is None:
        raise Mismatch(f"the offset of {value.tzinfo} depends on the date; use a datetime or a fixed offset")
    return time.isoformat(value)


@trait(exact=time, msgspec_read=_as_text(time.fromisoformat))
def read_time(value: Any, _: Any = None) -> time:
    """ISO 8601."""
    found: time = _parsed("time in ISO 8601", value, time.fromisoformat)
    return found


def _duration_of(value: timedelta) -> str:
    seconds, rest = divmod(abs(_plain_timedelta(value)), _SECOND)
    fraction = f".{rest // _MICROSECOND:06}".rstrip("0") if rest else ""
    return f"{'-' if value.days < 0 else ''}PT{seconds}{fraction}S"


@trait(exact=timedelta, precheck=Precheck("{v}.__class__ is timedelta", msgspec_write=lambda _: _duration_of))
def write_timedelta(value: Any) -> str:
    """Seconds as an ISO 8601 duration, exact to the microsecond."""
    if not isinstance(value, timedelta):
        raise refuse("timedelta", value)
    return _duration_of(value)


def _plain_timedelta(value: timedelta) -> timedelta:
    return timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(text)
    parts = match.groupdict()
    fraction = (parts["fraction"] or "").ljust(6, "0")
    whole = {name: int(parts[name] or 0) for name in ("days", "hours", "minutes", "seconds")}
    if not parts["sign"]:
        return timedelta(**whole, microseconds=int(fraction))
    # Negated before and not after, because timedelta.min has no positive counterpart.
    return timedelta(**{name: -amount for name, amount in whole.items()}, microseconds=-int(fraction))


@trait(exact=timedelta, msgspec_read=_as_text(_duration))
def read_timedelta(value: Any, _: Any = None) -> timedelta:
    """An ISO 8601 duration of days, hours, minutes and seconds."""
    found: timedelta = _parsed("timedelta as an ISO 8601 duration", value, _duration)
    return found


@trait(exact=Decimal, precheck=Precheck("{v}.__class__ is Decimal"))
def write_decimal(value: Any) -> str:
    """As ``str`` writes it."""
    if not isinstance(value, Decimal):
        raise refuse("Decimal", value)
    return Decimal.__str__(value)


@trait(exact=Decimal, msgspec_read=_as_text(Decimal))
def read_decimal(value: Any, _: Any = None) -> Decimal:
    """The inverse. It accepts only a string, because a JSON number may have lost digits already."""
    found: Decimal = _parsed("Decimal as a string", value, Decimal)
    return found


@trait(exact=UUID, precheck=Precheck("{v}.__class__ is UUID"))
def write_uuid(value: Any) -> str:
    """With dashes."""
    if not isinstance(value, UUID):
        raise refuse("UUID", value)
    return UUID.__str__(value)


@trait(exact=UUID, msgspec_read=lambda _: MsgspecRead(UUID))
def read_uuid(value: Any, _: Any = None) -> UUID:
    """From a string."""
    found: UUID = _parsed("UUID", value, UUID)
    return found


#: type → (write, read).
SCALARS: dict[type, tuple[Hook, Hook]] = {
    bytes: (write_bytes, read_bytes),
    datetime: (write_datetime, read_datetime),
    date: (write_date, read_date),
    time: (write_time, read_time),
    timedelta: (write_timedelta, read_timedelta),
    Decimal: (write_decimal, read_decimal),
    UUID: (write_uuid, read_uuid),
}
