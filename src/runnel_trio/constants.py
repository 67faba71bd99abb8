"""Enumerations that are part of the public API."""

from __future__ import annotations

import enum

__all__ = ["ExceptionPolicy", "Overflow"]


class ExceptionPolicy(enum.Enum):
    """What happens when a processor function raises.

    Example:
        >>> from runnel_trio.constants import ExceptionPolicy
        >>> ExceptionPolicy("halt")
        <ExceptionPolicy.HALT: 'halt'>
    """

    #: Stop the worker; the exception reaches the caller of `App.run`.
    HALT = "halt"
    #: Stop that partition, and go on with the others.
    QUARANTINE = "quarantine"
    #: Move the event and all later ones of its key aside, and go on with other keys; see `Processor.unpark`.
    PARK = "park"
    #: Log the exception, acknowledge the event, and go on.
    IGNORE = "ignore"


class Overflow(enum.Enum):
    """What `Stream.send` does when a partition has no room left.

    Example:
        >>> from runnel_trio.constants import Overflow
        >>> Overflow("block")
        <Overflow.BLOCK: 'block'>
    """

    #: Wait for room; a Trio timeout around `send` limits the wait.
    BLOCK = "block"
    #: Raise `StreamFull`.
    ERROR = "error"
    #: Drop the oldest events, processed or not.
    TRIM = "trim"
