"""Which member owns which partitions: a pure function of the membership.

Every member computes it from the same membership and gets the same answer. For now the member that
joined first owns every partition and the others stand by, in the order in which they joined.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["assigned"]


def assigned(members: Sequence[str], partition_count: int, member: str) -> frozenset[int]:
    """The partitions that ``member`` owns.

    Args:
        members: ids of the live members, in the order in which they joined.
        partition_count: how many partitions there are.
        member: whose share is asked for.
    """
    first = members[0] if members else None
    return frozenset(range(partition_count)) if first == member else frozenset()
