"""Which member should own which partitions: a pure function of the members and the previous plan.

The new plan is

- **complete**: each partition has exactly one member, as long as there is any;
- **balanced**: no member has more than one partition more than another;
- **sticky**: it moves as few partitions as these two allow, because each move is a pause of that partition.

To keep moves few: ``partition_count % members`` of the members may have one partition more than the others.
These are the members that have most now, so that as little as possible is taken from any member. Partitions
that are taken, or have no owner, go to members below their share. The share of leaving members is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["assign"]

Plan = dict[str, tuple[int, ...]]


def assign(members: Sequence[str], partition_count: int, previous: Mapping[str, Sequence[int]]) -> Plan:
    """The plan for members, each of them named in it, after a previous one.

    Args:
        members: ids of those that take part, in the order of joining; every caller has the same order.
        partition_count: how many partitions there are.
        previous: who was to own what before, in a plan of this function.

    Example:
        >>> assign(["a", "b"], 4, {"a": (0, 1, 2, 3)})
        {'a': (0, 1), 'b': (2, 3)}
        >>> assign(["b"], 4, {"a": (0, 1), "b": (2, 3)})
        {'b': (0, 1, 2, 3)}
    """
    if not members:
        return {}
    kept = _held(members, partition_count, previous)
    shares = _shares(kept, partition_count)
    for member, share in shares.items():
        del kept[member][share:]
    placed = {number for numbers in kept.values() for number in numbers}
    free = [number for number in range(partition_count) if number not in placed]
    for member, share in shares.items():
        wanted = share - len(kept[member])
        kept[member] += free[:wanted]
        del free[:wanted]
    return {member: tuple(sorted(numbers)) for member, numbers in kept.items()}


def _held(
    members: Sequence[str], partition_count: int, previous: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """What each one has now, of what there is."""
    return {
        member: sorted(number for number in previous.get(member, ()) if 0 <= number < partition_count)
        for member in members
    }


def _shares(held: Mapping[str, Sequence[int]], partition_count: int) -> dict[str, int]:
    """How many each one is to have, in the order of joining."""
    least, more = divmod(partition_count, len(held))
    fullest = sorted(held, key=lambda member: -len(held[member]))[:more]
    return {member: least + (member in fullest) for member in held}
