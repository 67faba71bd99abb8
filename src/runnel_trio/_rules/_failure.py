"""What happens to the events of a failed call of the processor function.

    what has failed                                      decision
    no Exception: SystemExit, KeyboardInterrupt          HALT
    a cancellation from outside, the loss of the lease   Leave
    an Exception while the partition is cancelled        HALT if that were decided otherwise, else Leave
    an Exception with no event in hand                   HALT
    an Exception that a rule decides about               what the rule says: Retry, SetAside or a policy
    any other Exception                                  the processor's exception policy

A rule is a link of the processor's middleware, asked through its `on_failure`. If any rule says Retry, the
events are retried; otherwise the first rule in the list that decides is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import attrs

from runnel_trio.constants import ExceptionPolicy

__all__ = ["Decision", "Leave", "Retry", "SetAside", "decide"]


@attrs.frozen
class Retry:
    """Call the function again after a pause, with the same events first. The partition waits meanwhile.

    Attributes:
        pause: seconds.
    """

    pause: float


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
