"""Numbers in sentences, and safe descriptions of users' objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["ago", "counted", "described", "encodable", "numbered", "ranges", "shortened", "summary"]

#: Characters of a description that are kept: some have a whole document in it.
_MOST = 2000


def counted(number: int, noun: str, plural: str = "") -> str:
    """So many of something.

    Example:
        >>> counted(1, "event"), counted(2391, "event"), counted(2, "history", "histories")
        ('1 event', '2,391 events', '2 histories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ago(seconds: float) -> str:
    """A length of time, in the unit that fits.

    Example:
        >>> [ago(x) for x in (0.04, 7.26, 90, 5400, 200_000)]
        ['0.0 s', '7.3 s', '90 s', '90 min', '56 h']
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    for unit, length, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 96)):
        if seconds < most * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} days"


def ranges(numbers: Iterable[int], to: str = "-", between: str = ", ") -> str:
    """Rising numbers, with runs written as such.

    Example:
        >>> ranges([1, 2, 3, 5, 9, 10]), ranges([1, 2, 3, 7], " to ")
        ('1-3, 5, 9-10', '1 to 3, 7')
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], number]
        else:
            runs.append([number])
    return between.join(to.join(map(str, run)) for run in runs)


def shortened(text: str, width: int) -> str:
    """A text in so many columns; what does not fit is cut off, and marked.

    Example:
        >>> shortened("orders", 6), shortened("orders/totals", 6)
        ('orders', 'order…')
    """
    return text if len(text) <= width else text[: width - 1] + "…"


def numbered(stream: str, numbers: Iterable[int]) -> str:
    """Partitions of a stream, as they are written everywhere.

    Example:
        >>> numbered("orders", [3]), numbered("orders", range(16))
        ('orders[3]', 'orders[0-15]')
    """
    return f"{stream}[{ranges(numbers)}]"


def described(thing: object, form: Callable[[Any], str] = repr, most: int = _MOST) -> str:
    r"""What an object says of itself, as can be logged, stored and shown, whatever its class does.

    The ``__str__`` and ``__repr__`` of a user's class can raise, and what they return need not be text, or
    not one that has bytes. Whoever handles a failure must not fail at describing it.

    Args:
        thing: anything, mostly an exception.
        form: ``repr`` or ``str``.
        most: characters that are kept.

    Example:
        >>> class Odd(Exception):
        ...     def __str__(self):
        ...         raise RuntimeError
        >>> described(Odd(1)), described(Odd(1), str), described(ValueError("\ud800"), str)
        ('Odd(1)', '<Odd whose str() raises RuntimeError>', '\\ud800')
    """
    try:
        text = str.__str__(form(thing))  # and not that of a subclass
    except Exception as error:
        text = f"<{type(thing).__name__} whose {form.__name__}() raises {type(error).__name__}>"
    return encodable(text if len(text) <= most else f"{text[:most]}…")


def summary(error: BaseException) -> str:
    """An error in a line, as ``type: text``, or its type where it has no text."""
    name, text = type(error).__name__, described(error, str)
    return f"{name}: {text}" if text else name


def encodable(text: str) -> str:
    r"""A text of which UTF-8 can be made: halves of surrogate pairs are written as ``\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
