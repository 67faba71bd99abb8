"""The same on one server and on a cluster, which each contender starts for itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from benchmarks.contenders.consuming import consume
from benchmarks.contenders.latency import latency
from benchmarks.contenders.ours import fill, store
from benchmarks.contenders.sending import sent
from benchmarks.nodes import one_server, three_masters
from benchmarks.workload import Contender, Result

#: Starts servers, and says where they are.
Deployment = Callable[[], AbstractContextManager[str]]


def on(
    _: str, count: int, unique: int, *, deployment: Deployment, what: Contender, backlog: bool = False
) -> Result:
    """What a contender finds out on servers that are there for it alone."""
    with deployment() as url:
        if backlog:
            fill(url, count)
        found = what(url, count, unique)
    found.pop("events", None)  # whose cost to the common server is measured: there is none
    return found


def _everywhere(name: str, what: Contender, *, backlog: bool = False) -> dict[str, Contender]:
    places = {"server": one_server, "cluster": three_masters}
    return {
        f"{name}-{where}": partial(on, deployment=deployment, what=what, backlog=backlog)
        for where, deployment in places.items()
    }


CONTENDERS: dict[str, Contender] = {
    **_everywhere("deployed-send", partial(sent, way=store)),
    **_everywhere("deployed-consume", consume, backlog=True),
    **_everywhere("deployed-latency", latency),
}
