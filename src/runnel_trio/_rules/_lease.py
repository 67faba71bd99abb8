"""Who owns a partition, and how long an owner may believe so.

A lease is a record ``(owner, epoch)`` beside the partition's log. It has no expiry of its own:

- **It can be taken** when it is free, when the taker already holds it, or by force: the taker names the exact
  ``(owner, epoch)`` that it saw, after it has seen that this owner is no longer a member. Two takers that saw
  the same dead owner cannot both succeed, because the first changes the epoch.
- **The epoch rises each time the lease is taken**, and is at least the server's clock in microseconds, so
  that it keeps rising even if a failover loses the last few. It is the fencing token: each commit carries
  owner and epoch, and is refused unless both match the lease.
- **The owner believes in it** (yields events to user code) only until ``expiry - margin`` after the moment
  *before* it sent its last successful heartbeat, on its own clock, which neither an adjustment of the wall
  clock nor the suspension of the machine stops. Others may take its leases no sooner than ``expiry`` after
  the server received that heartbeat, which is later: so belief ends before the taking can begin.

Two alternatives do not work. With an expiry on the lease's key, a server clock set back would keep a dead
owner alive, and the epoch would be forgotten. If a lease were trusted until a commit fails, a paused process
would hand out events that another worker is handling.
"""

from __future__ import annotations

__all__ = ["may_take", "next_epoch", "trusted_until"]

#: The share of the expiry that the owner gives up to be surely earlier than the others.
_MARGIN = 0.1


def may_take(owner: str, epoch: int, taker: str, observed: tuple[str, int] | None) -> bool:
    """Whether ``taker`` may take a lease that ``owner`` ("" when nobody) holds with ``epoch``."""
    return owner in {"", taker} or (owner, epoch) == observed


def next_epoch(previous: int, server_microseconds: int) -> int:
    """The epoch of a lease that is being taken."""
    return max(previous + 1, server_microseconds)


def trusted_until(beat_started: float, expiry: float) -> float:
    """Until when (own clock, seconds) an owner yields events after a heartbeat begun at ``beat_started``."""
    return beat_started + expiry * (1 - _MARGIN)
