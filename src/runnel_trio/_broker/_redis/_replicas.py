"""Whether replicas have what was written.

WAIT counts the replicas that have what its own connection has written, and holds that connection up. All
writes have one order, so a replica that has one write has all earlier ones. Therefore a connection that
nobody else waits for writes a marker, and waits until replicas have the marker.

After a failover the new master may lack the earlier write, and WAIT would confirm the marker all the same. So
each marker is sent behind a question, which only a server that has the write answers as expected.

One WAIT is short: it holds nobody up for long, and the next one asks whoever is the master then.
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

#: The longest that one WAIT may take, in milliseconds.
_SLICE = 100


async def sends(ask: Ask, servers: Servers, keys: Collection[str], count: int, within: float) -> int:
    """Wait until replicas have what was stored in partitions. Returns how many have it, at least.

    Args:
        ask: carries calls over a connection that nobody else waits for, until they are answered.
        servers: the servers that have the partitions.
        keys: the keys of these partitions' hashes of producers.
        count: how many replicas should have it.
        within: seconds to wait, at most.

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
    """Wait until replicas have these commits. Returns how many have them, at least.

    Args:
        ask: carries calls over a connection that nobody else waits for, until they are answered.
        servers: the servers that have the partitions.
        calls: the commits, each by the key of its partition's hash of producers. They are sent again each
            time, which does no harm.
        count: how many replicas should have them.
        within: seconds to wait, at most.
    """
    reached = 0
    with trio.move_on_after(within):
        while reached < count:
            reached, _ = await _wait(ask, servers, list(calls.values()), calls, count)
    return reached


async def _wait(
    ask: Ask, servers: Servers, first: Sequence[Call | PlainCommand], keys: Collection[str], count: int
) -> tuple[int, list[Any]]:
    """Ask, write a marker and wait, on each node: how many replicas have the markers, and the answers."""
    nodes = servers.by_node(keys).items()
    marks = [PlainCommand(("HSET", key, "wait", f"0 0 {int(time.time())}"), node) for node, key in nodes]
    waits = [PlainCommand(("WAIT", count, _SLICE), node) for node, _ in nodes]
    replies = await ask([*first, *marks, *waits])
    return min(int(reply) for reply in replies[len(first) + len(marks) :]), replies[: len(first)]
