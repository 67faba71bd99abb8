"""Frameworks that users would choose instead, next to the loops by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.scenario import RATE, Group, Scenario


@dataclasses.dataclass(frozen=True)
class Peer:
    """A framework, installed on request in an environment of its own.

    Attributes:
        name: on the command line; also its module in `benchmarks.peers`.
        title: in the table.
        requires: what pip installs.
        consuming: titles and contenders next to the loop by hand.
    """

    name: str
    title: str
    requires: Sequence[str]
    consuming: Sequence[tuple[str, str]]

    def rows(self, pairs: Sequence[tuple[str, str, str]]) -> list[Scenario]:
        """Its rows: of what, which contender, next to which."""
        return [
            Scenario(f"{self.title}: {what}", f"{self.name}/{contender}", RATE, against, peer=self.name)
            for what, contender, against in pairs
        ]

    def consumers(self) -> list[Scenario]:
        return self.rows([(how, contender, "by-hand/group") for how, contender in self.consuming])

    def senders(self) -> list[Scenario]:
        bulk = ("in bulk", "send-bulk", "by-hand/pipeline")
        return self.rows([bulk, ("one awaited send at a time", "send-one-by-one", "by-hand/one-by-one")])


PEERS = [
    Peer(
        "faststream",
        "FastStream",
        ["faststream[redis]"],
        consuming=[("one by one", "consume"), ("in batches of 100", "consume-batches")],
    ),
    Peer(
        "coredis",
        "coredis on Trio",
        ["coredis", "trio"],
        consuming=[("an ack for each", "consume"), ("an ack per 100", "consume-per-100")],
    ),
    Peer("streaq", "streaq", ["streaq"], consuming=[("tasks", "consume")]),
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


def among(peers: Sequence[Peer]) -> list[Group]:
    """The groups in which these take part."""
    consumers = [row for peer in peers for row in peer.consumers()]
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
    ]
