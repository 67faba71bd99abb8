"""When timers and crontabs are due: pure functions of the given time.

A timer's runs are due at fixed times, counted from its start, so that it does not drift. Runs that fall due
during a long run are skipped.

A crontab is read in the time of day of its zone, which jumps twice a year. Then it behaves like Debian's cron
(``cron(8)``): a spec that names hours, such as ``30 2 * * *``, runs once for every time of day that it names.
If that time does not exist, it runs at the moment of the jump; if it exists twice, the first time. A spec
whose hour is ``*``, such as ``*/30 * * * *``, means real time and ignores the jump.

croniter only gets plain times of day, without a zone: with a zone, it runs ``30 2 * * *`` twice when clocks
go back. The offsets are looked up here, by instants, since every kind of tzinfo (zoneinfo, dateutil, pytz)
answers that alike.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, tzinfo

import attrs

from runnel_trio._report._words import described
from runnel_trio.exceptions import Misconfigured

__all__ = ["Crontab", "checked_interval", "next_tick"]

_EPOCH = datetime(1970, 1, 1)
#: No zone's clock was ever turned by more, in seconds.
_LARGEST_JUMP = 4 * 3600
#: How many runs that were left out are counted, at most: enough for a log line.
_COUNTED = 10_000
#: In a column: a number that croniter draws.
_DRAWN = re.compile(r"(?:^|,)[hr](?:$|[,(/-])", re.IGNORECASE)
#: Names of cron expressions.
_NICKNAMES = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually"


def checked_interval(seconds: float) -> float:
    """A timer's interval.

    Raises:
        Misconfigured: it is no time that passes.
    """
    if not 0 < seconds < math.inf:
        raise Misconfigured(f"timer: interval={described(seconds)} must be more than 0 seconds")
    return float(seconds)


def next_tick(began: float, interval: float, last: int, now: float) -> tuple[int, int]:
    """Which of a timer's runs is next, and how many are left out.

    Args:
        began: when it was started; run ``n`` is due at ``began + n * interval``.
        interval: seconds.
        last: the number of the run before, 0 at first.
        now: the time, in the same seconds as ``began``.

    Returns:
        The number of the first run behind ``last`` that is not in the past, and the number of those before
        it.

    Example:
        >>> next_tick(began=100, interval=10, last=1, now=112)
        (2, 0)
        >>> next_tick(began=100, interval=10, last=1, now=135)
        (4, 2)
    """
    first = last + 1
    if began + first * interval >= now:
        return first, 0
    number = max(first, math.ceil((now - began) / interval))
    return number, number - first


@attrs.frozen
class Crontab:
    """A cron expression in a time zone.

    Attributes:
        spec: five fields, or six with seconds at the end, or ``@hourly`` and the like.
        zone: in which it is read.

    Raises:
        Misconfigured: it is no cron expression, or never comes.

    Example:
        >>> from datetime import datetime, timezone
        >>> daily = Crontab("45 17 * * *", timezone.utc)
        >>> datetime.fromtimestamp(daily.after(0), timezone.utc).isoformat()
        '1970-01-01T17:45:00+00:00'
    """

    spec: str
    zone: tzinfo
    _names_hours: bool = attrs.field(init=False, default=True, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.zone, tzinfo):
            given = described(self.zone)
            raise Misconfigured(
                f"crontab: timezone={given} is no tzinfo, such as zoneinfo.ZoneInfo('Europe/Berlin')"
            )
        if isinstance(self.spec, str) and any(map(_DRAWN.search, self.spec.split())):
            raise Misconfigured(
                f"crontab: {self.spec!r} has H or R, a time that is drawn by chance: each worker would draw "
                "its own, and each start another. Write the time that you want"
            )
        # Here: it takes a tenth of the time of `import runnel_trio`, and few apps have crontabs.
        from croniter import CroniterError, croniter

        try:
            if (count := 5 if self.spec.startswith("@") else len(self.spec.split())) not in {5, 6}:
                raise ValueError(f"it has {count} {'column' if count == 1 else 'columns'}")
            fields = croniter.expand(self.spec)[0]
        except (CroniterError, AttributeError, TypeError, ValueError) as error:
            why = f"there are {_NICKNAMES}" if str(self.spec).startswith("@") else str(error)
            raise Misconfigured(
                f"crontab: {self.spec!r} is no cron expression: {why}. Write five columns, minute hour day "
                "month weekday, as in '45 17 * * *' (a sixth is the second), or a name such as @hourly"
            ) from None
        object.__setattr__(self, "_names_hours", fields[1] != ["*"])
        try:
            self._next(_EPOCH)
        except CroniterError:
            raise Misconfigured(f"crontab: {self.spec!r} never comes; there is no such day") from None

    @property
    def second(self) -> str:
        """The sixth column, which is the second; empty where there is none."""
        columns = self.spec.split()
        return columns[5] if len(columns) > 5 else ""

    def after(self, moment: float) -> float:
        """The first time that it is due after a moment; both in seconds since 1970."""
        since, offset = moment, self._offset(moment)
        while True:
            naive = self._next(_EPOCH + timedelta(seconds=moment) + offset)
            due = (naive - _EPOCH - offset).total_seconds()
            changed = self._first_change(since, due, offset)
            if changed is not None:
                before, offset = offset, self._offset(changed)
                landing = _EPOCH + timedelta(seconds=changed) + offset
                if self._names_hours and offset > before and naive < landing:
                    return changed  # the time that it names is jumped over
                moment, since = changed - 1, changed
            elif self._is_repeated(due, naive, offset):
                moment = since = due
            else:
                return due

    def between(self, first: float, last: float) -> int:
        """How many times it was due after ``first``, up to and with ``last``; some thousands at most."""
        count = 0
        while count < _COUNTED and (first := self.after(first)) <= last:
            count += 1
        return count

    def _next(self, naive: datetime) -> datetime:
        from croniter import croniter

        found: datetime = croniter(self.spec, naive.replace(tzinfo=UTC)).get_next(datetime)
        return found.replace(tzinfo=None)

    def _offset(self, moment: float) -> timedelta:
        return datetime.fromtimestamp(moment, self.zone).utcoffset() or timedelta()

    def _first_change(self, moment: float, until: float, offset: timedelta) -> float | None:
        """When the clock is turned, between two moments; none when it is not."""
        day = 86_400.0
        low: float = math.floor(moment)
        while low < until:
            high = min(low + day, until)
            if self._offset(high) != offset:
                break
            low = high
        else:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset(middle) == offset else (low, middle)
        return float(math.ceil(high))

    def _is_repeated(self, due: float, naive: datetime, offset: timedelta) -> bool:
        """Whether this time of day is there for the second time, and was the right one the first time."""
        before = self._offset(due - _LARGEST_JUMP)
        if not self._names_hours or before <= offset:
            return False
        earlier = due - (before - offset).total_seconds()
        return _EPOCH + timedelta(seconds=earlier) + self._offset(earlier) == naive
