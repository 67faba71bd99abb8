"""A master with replicas, and Sentinels that put one of them in its place when it is gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import trio
from fault_server import Server
from fault_store import Store
from rig_cluster import until

#: What the Sentinels call the group.
SERVICE = "flights"
#: Milliseconds without an answer after which a Sentinel takes a server for gone.
DOWN_AFTER = 600
#: Milliseconds between their looks, which they take each second or each ten otherwise. Without a master they ask
#: the replicas each second, and believe what is not older than five pings.
_LOOKS = {"info": 100, "ping": 300, "ask": 100, "publish": 100}
_CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {directory}
logfile {directory}/log
sentinel monitor {service} 127.0.0.1 {master} {quorum}
sentinel down-after-milliseconds {service} {down_after}
sentinel failover-timeout {service} 2000
sentinel parallel-syncs {service} 2
"""


class Sentinel(Server):
    """One of those that watch, over the master at a port.

    Attributes:
        directory: where it keeps what it knows.
    """

    def __init__(self, directory: Path, master: int, quorum: int, more: str = "", **options: str) -> None:
        super().__init__(directory, **options)
        directory.mkdir(parents=True)
        told = _CONFIGURATION.format(
            port=self.port, directory=directory, service=SERVICE, master=master, quorum=quorum, down_after=DOWN_AFTER
        )  # fmt: skip
        (directory / "sentinel.conf").write_text(told + more)

    @property
    def arguments(self) -> list[str]:
        """It reads and writes a file."""
        return [str(self.directory / "sentinel.conf"), "--sentinel"]

    async def start(self, *, ready: bool = True, **more: str) -> None:
        """Until it answers, and looks often."""
        await super().start(ready=ready, **more)
        self.look(**_LOOKS)

    def look(self, **milliseconds: int) -> None:
        """Between its looks: at servers (``info``, ``ping``), and at other Sentinels (``ask``, ``publish``)."""
        words = [word for what, each in milliseconds.items() for word in (f"{what}-period", each)]
        self.client.execute_command("SENTINEL DEBUG", *words)

    def known(self) -> dict[str, Any]:
        """What it thinks of the group."""
        return dict(self.client.sentinel_master(SERVICE))

    def master(self) -> int:
        """The port of the master, as it knows it."""
        return int(self.client.sentinel_get_master_addr_by_name(SERVICE)[1])

    def misses(self, replica: Server) -> bool:
        """Whether a replica does not answer it."""
        there = self.client.sentinel_slaves(SERVICE)
        return any(x["port"] == replica.port and x["is_sdown"] for x in there)

    def sees(self, replicas: int, others: int) -> bool:
        """Whether it knows so many, all of them in order, and a master that is there."""
        found, there = self.known(), self.client.sentinel_slaves(SERVICE)
        fine = [x for x in there if x["master-link-status"] == "ok" and not x["is_disconnected"]]
        return (
            len(fine) == replicas
            and found["num-other-sentinels"] == others
            and found["is_master"]
            and not found["is_sdown"]
        )


class Group(Store):
    """A master, its replicas, and three Sentinels.

    Attributes:
        servers: which of them is the master changes.
        sentinels: of which two must agree.
    """

    def __init__(self, directory: Path, replicas: int = 2) -> None:
        self.servers = [
            Server(directory / f"server-{n}", appendfsync="no", **{"repl-ping-replica-period": "1"})
            for n in range(1 + replicas)
        ]
        self.sentinels = [Sentinel(directory / f"sentinel-{n}", self.servers[0].port, 2) for n in range(3)]

    @property
    def url(self) -> str:
        """By the Sentinels."""
        where = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{where}/{SERVICE}"

    @property
    def master(self) -> Server:
        """That most of the Sentinels which answer know."""
        ports = []
        for sentinel in self.sentinels:
            with suppress(redis.ConnectionError):
                ports.append(sentinel.master())
        port = max(ports, key=ports.count)
        (found,) = [server for server in self.servers if server.port == port]
        return found

    @property
    def replicas(self) -> list[Server]:
        """All but the master."""
        return [server for server in self.servers if server is not self.master]

    @property
    def clients(self) -> list[Any]:
        """Of the master, if it answers."""
        client = self.master.client
        with suppress(redis.ConnectionError, redis.TimeoutError):
            return [client] if client.ping() else []
        return []

    async def start(self) -> None:
        """Until the Sentinels know the servers and each other, and could put a replica in the master's place."""
        async with trio.open_nursery() as nursery:
            for server in self.servers:
                nursery.start_soon(server.start)
        for replica in self.servers[1:]:
            replica.client.replicaof("127.0.0.1", self.servers[0].port)
        async with trio.open_nursery() as nursery:
            for sentinel in self.sentinels:
                nursery.start_soon(sentinel.start)
        await self.settled()

    def is_fine(self) -> bool:
        """Whether all are there, and agree who is the master."""
        with suppress(redis.ConnectionError, redis.ResponseError):
            if len({sentinel.master() for sentinel in self.sentinels}) > 1:
                return False
            replicas, others = len(self.servers) - 1, len(self.sentinels) - 1
            return all(sentinel.sees(replicas, others) for sentinel in self.sentinels)
        return False

    async def settled(self) -> None:
        """Until it is."""
        await until(self.is_fine)

    async def replaced(self, old: Server) -> Server:
        """Until another one is the master, for every Sentinel that answers; which."""

        def found() -> Server | None:
            master = self.master
            return master if master is not old and master.role() == "master" else None

        new: Server = await until(found)
        return new

    async def has_all(self, replicas: int) -> None:
        """Until so many replicas have what the master has."""

        def have() -> bool:
            client = self.master.client
            client.set("probe", 1)  # WAIT speaks of what its own connection has written
            return bool(client.wait(replicas, 1000) >= replicas)

        await until(have)

    async def handed_over(self) -> Server:
        """Have a replica become the master, as operators do; which."""
        for sentinel in self.sentinels:
            # Whoever has not heard of it for four of these would have the replica be one again.
            sentinel.look(publish=500)
        old = self.master
        self.sentinels[0].client.sentinel_failover(SERVICE)
        return await self.replaced(old)

    def part(self) -> None:
        """The replicas get nothing more from the master, and hear that they do not; others notice nothing."""
        client = self.master.client
        client.config_set("requirepass", "of nobody")  # who is in already stays in
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def ready(self) -> None:
        """For the next test: all run, all is in order, nothing is stored. Not within Trio."""
        trio.run(self._mended)
        self.master.client.flushall()

    async def _mended(self) -> None:
        for one in (*self.servers, *self.sentinels):
            await one.back()
        for server in self.servers:
            server.client.config_set("requirepass", "")
            server.client.config_set("min-replicas-to-write", 0)
        for sentinel in self.sentinels:
            sentinel.look(**_LOOKS)
        await self.settled()

    def end(self) -> None:
        """Leave nothing behind."""
        for one in (*self.sentinels, *self.servers):
            one.end()
