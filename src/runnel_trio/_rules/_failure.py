"""What happens to the events of a failed call of the processor function.

    what has failed                                      decision
    no Exception: SystemExit, KeyboardInterrupt          HALT
    a cancellation from outside, the loss of the lease   Leave
    an Exception while the partition is cancelled        HALT if that were decided otherwise, else Leave
    an Exception with no event in hand                   HALT
    an Exception that a rule decides about               what the rule says: Retry, SetAside or a policy
    any other Exception                                  the processor's exception policy

A decision to PARK becomes QUARANTINE where nothing can be parked, see `_partition/_failure.py`.

A rule is a link of the processor's middleware, asked through its `on_failure`. If any rule says Retry, the
events are retried; otherwise the first rule in the list that decides is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from runnel_trio.constants import ExceptionPolicy

__all__ = ["Decision", "Leave", "Policies", "Retry", "SetAside", "decide"]


@attrs.frozen
class Retry:
    """Call the function again after a pause, with the same events.

    Attributes:
        pause: seconds.
        hold: what waits meanwhile. "lane": the lane that has the events, and they come first again; where a
            partition has one lane, that is the partition. "key": their keys only; see `Middleware.by_key`.
    """

    pause: float
    hold: Literal["lane", "key"] = "lane"


@attrs.frozen
class SetAside:
    """Store the events elsewhere, in the same step that acknowledges them.

    Attributes:
        prepare: makes what is to be stored. None if that is impossible: then nobody has decided this.
    """

    prepare: Callable[[], Sequence[Any] | None]


@attrs.frozen
class Leave:
    """Acknowledge nothing: the next owner of the partition handles the events."""


#: What is done with the events in hand.
Decision: TypeAlias = Retry | SetAside | Leave | ExceptionPolicy


@attrs.frozen
class Policies:
    """The exception policy of a processor, for each type of exception.

    Attributes:
        default: for exceptions of no other type.
        by_type: types of exceptions and their policies; the first that an exception is an instance of counts.

    Example:
        >>> policies = Policies(ExceptionPolicy.HALT, [(ValueError, ExceptionPolicy.IGNORE)])
        >>> policies.of(UnicodeError()).value, policies.of(KeyError()).value
        ('ignore', 'halt')
    """

    default: ExceptionPolicy
    by_type: Sequence[tuple[type[BaseException], ExceptionPolicy]] = ()

    @property
    def may_park(self) -> bool:
        """Whether there are exceptions over which keys are parked."""
        return ExceptionPolicy.PARK in {self.default, *(policy for _, policy in self.by_type)}

    def of(self, error: BaseException) -> ExceptionPolicy:
        """The policy for an exception."""
        return next((policy for kind, policy in self.by_type if isinstance(error, kind)), self.default)


def decide(
    error: BaseException,
    *,
    given_up: bool,
    cancelled: bool,
    in_hand: bool,
    proposed: Decision | None,
    policy: ExceptionPolicy,
) -> Decision:
    """Decide about a failure, by the table above.

    Args:
        error: what was raised.
        given_up: whether it only says that the partition is given up: a cancellation, or the lost lease.
        cancelled: whether the partition was being cancelled when it was raised.
        in_hand: whether any event was in hand.
        proposed: what the rules say, None if they do not decide.
        policy: the processor's.
    """
    if given_up:
        return Leave()
    if not isinstance(error, Exception):
        return ExceptionPolicy.HALT
    wanted = policy if proposed is None else proposed
    if cancelled:
        return wanted if wanted is ExceptionPolicy.HALT else Leave()
    return wanted if in_hand else ExceptionPolicy.HALT
