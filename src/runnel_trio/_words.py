"""Numbers in sentences, and what objects of users say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["counted", "described", "encodable", "said"]

#: Characters of a description that are kept: some have a whole document in it.
_MOST = 2000


def counted(number: int, noun: str, plural: str = "") -> str:
    """So many of something.

    Example:
        >>> counted(1, "event"), counted(2391, "event"), counted(2, "history", "histories")
        ('1 event', '2,391 events', '2 histories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


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


def said(error: BaseException) -> str:
    """An error in a line, as ``type: text``, or its type where it has no text."""
    name, text = type(error).__name__, described(error, str)
    return f"{name}: {text}" if text else name


def encodable(text: str) -> str:
    r"""A text of which UTF-8 can be made: halves of surrogate pairs are written as ``\udc80``."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
