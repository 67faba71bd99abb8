"""Numbers in sentences."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, noun: str, plural: str = "") -> str:
    """So many of something.

    Example:
        >>> counted(1, "event"), counted(2391, "event"), counted(2, "history", "histories")
        ('1 event', '2,391 events', '2 histories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
