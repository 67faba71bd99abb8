"""What one event costs the server, and what it sends to replicas and to its append-only file."""

from __future__ import annotations

from benchmarks.scenario import ALL_BYTES, BYTES, SERVER_TIME, Group, Scenario

SERVER = Group(
    "server",
    "The server's side",
    "CPU time of the server for each event consumed, and bytes that are replicated for it. By hand: "
    "XREADGROUP by the hundred and one XACK for each read.",
    backlog=True,
    scenarios=[
        Scenario("server CPU, by hand", "by-hand/group", SERVER_TIME, "by-hand/group"),
        Scenario("server CPU, records()", "ours/consume", SERVER_TIME, "by-hand/group", "≤ 0.5 x"),
        Scenario("bytes replicated by consuming, by hand", "by-hand/replicated", BYTES),
        Scenario("bytes replicated by consuming", "ours/replicated", BYTES, "by-hand/replicated", "≤ 5 B"),
        Scenario("and by sending, beyond the XADD itself", "ours/replicated", ALL_BYTES, bar="≤ 5 B"),
    ],
)
