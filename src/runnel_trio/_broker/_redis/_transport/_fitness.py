"""Whether a server will do: new enough, and not one that throws keys away."""

from __future__ import annotations

from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import Misconfigured

__all__ = ["check_fitness"]

_OLDEST = (7, 0)


def check_fitness(info: bytes | str, url: str, *, clustered: bool = False) -> str:
    """Refuse a server that cannot keep our promises.

    Args:
        info: its answer to INFO.
        url: where it is.
        clustered: whether it was reached as a node of a cluster.

    Returns:
        What it is, in words.

    Raises:
        Misconfigured: it is older than Redis 7.0, its maxmemory-policy may evict our keys, or it is a node
            of a cluster and was reached as if it were alone.
    """
    text = info.decode() if isinstance(info, bytes) else info
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    version = facts.get("redis_version", "0").strip()
    if tuple(int(x) for x in version.split(".")[:2]) < _OLDEST:
        raise Misconfigured(
            f"the server at {redacted(url)} is Redis {version}; "
            "runnel-trio needs Redis 7.0, Valkey 7.2 or newer"
        )
    if facts.get("cluster_enabled", "0").strip() == "1" and not clustered:
        raise Misconfigured(
            f"the server at {redacted(url)} is a node of a cluster: use redis+cluster:// in front of its name"
        )
    policy = facts.get("maxmemory_policy", "noeviction").strip()
    if policy.startswith("allkeys"):
        raise Misconfigured(
            f"the server at {redacted(url)} has maxmemory-policy {policy} and would throw whole partitions "
            "away when memory is short; set it to noeviction"
        )
    own = facts.get("valkey_version", "").strip()
    name = f"Valkey {own}" if own else f"Redis {version}"
    durable = "appendonly yes" if facts.get("aof_enabled", "0").strip() == "1" else "appendonly no"
    return f"{name}, maxmemory-policy {policy}, {durable}"
