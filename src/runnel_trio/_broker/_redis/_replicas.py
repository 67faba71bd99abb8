"""Whether replicas have what was written.

WAIT speaks of what its own connection has written, and holds that connection up. There is one order of
writes, so a replica that has one of them has all earlier ones: a connection that nobody else waits for marks
the time with a write of its own, and waits for that. What the mark is to come behind must be on this server,
though: after a failover it may be on none, and the mark would be confirmed all the same. So each mark comes
behind a question that only a server answers rightly which has what was written.

The wait is in slices: nobody is held up for long, and the master may be another one by now.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import trio

from runnel_trio._broker._redis._transport._scripts import Ask, Call, PlainCommand
from runnel_trio._broker._redis._transport._servers import Servers
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["commits", "sends"]

#: Milliseconds that one wait takes at most.
_SLICE = 100


async def sends(ask: Ask, servers: Servers, keys: Collection[str], count: int, within: float) -> int:
    """Wait for what was stored in partitions; how many replicas have it, at least.

    Args:
        ask: carries calls over a connection that nobody else waits for, until they are answered.
        servers: those that have the partitions.
        keys: of the hashes of producers of these partitions.
        count: how many replicas are to have it.
        within: seconds.

    Raises:
        BrokerUnavailable: another master has taken over, and does not have it.
    """
    witnesses = [
        (key, *found) for key in keys for sender in servers.senders if (found := sender.witness(key))
    ]
    questions = [PlainCommand(("HGET", key, producer)) for key, producer, _ in witnesses]
    reached = 0
    with trio.move_on_after(within):
        while reached < count:
            reached, answers = await _wait(ask, servers, questions, keys, count)
            for (_, _, number), answer in zip(witnesses, answers, strict=True):
                if answer is None or int(answer.split()[0]) < number:
                    where = redacted(servers.topology.url)
                    raise BrokerUnavailable(
                        f"{where}: another master took over and does not have the records: they are lost "
                        "unless they are sent again"
                    )
    return reached


async def commits(ask: Ask, servers: Servers, calls: Mapping[str, Call], count: int, within: float) -> int:
    """Wait for commits; how many replicas have them, at least.

    Args:
        ask: carries calls over a connection that nobody else waits for, until they are answered.
        servers: those that have the partitions.
        calls: the commits, which are sent again each time (that harms nothing), by the keys of the
            hashes of producers of their partitions.
        count: how many replicas are to have them.
        within: seconds.
    """
    reached = 0
    with trio.move_on_after(within):
        while reached < count:
            reached, _ = await _wait(ask, servers, list(calls.values()), calls, count)
    return reached


async def _wait(
    ask: Ask, servers: Servers, first: Sequence[Call | PlainCommand], keys: Collection[str], count: int
) -> tuple[int, list[Any]]:
    """Ask, mark and wait on each node: how many replicas have the mark, and the answers."""
    nodes = servers.by_node(keys).items()
    marks = [PlainCommand(("HSET", key, "wait", f"0 0 {int(time.time())}"), node) for node, key in nodes]
    waits = [PlainCommand(("WAIT", count, _SLICE), node) for node, _ in nodes]
    replies = await ask([*first, *marks, *waits])
    return min(int(reply) for reply in replies[len(first) + len(marks) :]), replies[: len(first)]
