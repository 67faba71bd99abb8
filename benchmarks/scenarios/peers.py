"""Frameworks that users would choose instead, next to the loops by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.scenario import RATE, SECONDS, Group, Scenario

#: What the jobs of `benchmarks.keyed` take at least.
IDEAL = "by-hand/ideal-partitions"


@dataclasses.dataclass(frozen=True)
class Peer:
    """A framework, installed on request in an environment of its own.

    Attributes:
        name: on the command line; also its module in `benchmarks.peers`.
        title: in the table.
        requires: what pip installs.
        consuming: titles and contenders next to the loop by hand.
        keyed: those with handlers that wait, next to the ideal.
    """

    name: str
    title: str
    requires: Sequence[str]
    consuming: Sequence[tuple[str, str]]
    keyed: Sequence[tuple[str, str]] = ()

    def rows(self, pairs: Sequence[tuple[str, str, str]]) -> list[Scenario]:
        """Its rows: of what, which contender, next to which."""
        return [
            Scenario(f"{self.title}: {what}", f"{self.name}/{contender}", RATE, against, peer=self.name)
            for what, contender, against in pairs
        ]

    def consumers(self) -> list[Scenario]:
        return self.rows([(how, contender, "by-hand/group") for how, contender in self.consuming])

    def waiting(self) -> list[Scenario]:
        return [
            Scenario(f"{self.title}: {how}", f"{self.name}/{contender}", SECONDS, IDEAL, peer=self.name)
            for how, contender in self.keyed
        ]

    def senders(self) -> list[Scenario]:
        bulk = ("in bulk", "send-bulk", "by-hand/pipeline")
        return self.rows([bulk, ("one awaited send at a time", "send-one-by-one", "by-hand/one-by-one")])


PEERS = [
    Peer(
        "faststream",
        "FastStream",
        ["faststream[redis]"],
        consuming=[("one by one", "consume"), ("in batches of 100", "consume-batches")],
        keyed=[("one by one, each key in order", "jobs")],
    ),
    Peer(
        "coredis",
        "coredis on Trio",
        ["coredis", "trio"],
        consuming=[("an ack for each", "consume"), ("an ack per 100", "consume-per-100")],
    ),
    Peer(
        "streaq",
        "streaq",
        ["streaq"],
        consuming=[("tasks", "consume")],
        keyed=[("concurrency=1600, in any order", "jobs"), ("concurrency=16, its default", "jobs-16")],
    ),
    Peer("runnel", "runnel 2020", ["runnel", "setuptools<81"], consuming=[("records()", "consume")]),
]

OUR_CONSUMERS = [
    Scenario("by hand: XREADGROUP 100, json, XACK", "by-hand/group", RATE, "by-hand/group"),
    Scenario("runnel-trio: records()", "ours/consume", RATE, "by-hand/group"),
    Scenario("runnel-trio: take(100).records()", "ours/consume-take-100", RATE, "by-hand/group"),
]
OUR_SENDERS = [
    Scenario("by hand: XADD pipeline, json", "by-hand/pipeline", RATE, "by-hand/pipeline"),
    Scenario("runnel-trio: in bulk", "ours/send-bulk", RATE, "by-hand/pipeline"),
    Scenario("runnel-trio: one awaited send at a time", "ours/send-one-by-one", RATE, "by-hand/one-by-one"),
]
OUR_LANES = [
    Scenario("runnel-trio: one key at a time in each partition", "ours/lanes-off", SECONDS, IDEAL),
    Scenario("runnel-trio: concurrency=100, each key in order", "ours/lanes-partitions", SECONDS, IDEAL),
]


def among(peers: Sequence[Peer]) -> list[Group]:
    """The groups in which these take part."""
    consumers = [row for peer in peers for row in peer.consumers()]
    waiting = [row for peer in peers for row in peer.waiting()]
    senders = [row for peer in peers for row in peer.senders()]
    return [
        Group(
            "peers-consuming",
            "Other frameworks: consuming",
            "The same records, JSON, 16 partitions by key where there are any, everything acknowledged; "
            "ratios to the loop by hand (XREADGROUP by the hundred, one XACK for each read).",
            backlog=True,
            scenarios=[*OUR_CONSUMERS, *consumers],
        ),
        Group(
            "peers-sending",
            "Other frameworks: sending",
            "The same records; ratios to the XADD pipeline by hand, and to one XADD after the other.",
            fresh=True,
            scenarios=[*OUR_SENDERS, *senders],
        ),
        Group(
            "peers-lanes",
            "Other frameworks: handlers that wait",
            "2,000 events of 500 keys, each of which waits for 50 ms, in 16 partitions where there are any; "
            "ratios to the ideal, which is what the longest key takes.",
            fresh=True,
            scenarios=[*OUR_LANES, *waiting],
        ),
    ]
