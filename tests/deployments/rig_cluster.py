"""A cluster: masters that share the slots, replicas where a test wants them, and slots that move."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import trio
from fault_server import Server, free_port
from fault_store import Store
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

#: Seconds without a word after which a node counts as gone.
NODE_TIMEOUT = 1.0


async def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for it; what made it true."""
    with trio.fail_after(seconds):
        while not (found := await trio.to_thread.run_sync(condition)):
            await trio.sleep(0.01)
    return found


class Node(Server):
    """One server of a cluster.

    Attributes:
        id: by which the others know it.
    """

    id: str

    def __init__(self, directory: Path) -> None:
        self.bus = free_port()
        options = {
            "cluster-enabled": "yes",
            "cluster-port": str(self.bus),
            "cluster-node-timeout": str(int(NODE_TIMEOUT * 1000)),
            "cluster-require-full-coverage": "no",
            "cluster-replica-validity-factor": "0",
            "appendfsync": "no",
        }
        super().__init__(directory, **options)

    def cluster(self, *words: Any) -> Any:
        """What CLUSTER answers, as it is."""
        return self.client.execute_command("CLUSTER", *words)

    async def start(self, *, ready: bool = True, **more: str) -> None:
        """Until it answers, and says who it is."""
        await super().start(ready=ready, **more)
        self.id = self.cluster("MYID").decode()

    def is_fine(self) -> bool:
        """Whether it has what it is to have, and sees all the slots served."""
        if self.role() not in {"master", "replica"}:
            return False
        told = self.cluster("INFO").decode()
        return "cluster_state:ok" in told and f"cluster_slots_ok:{REDIS_CLUSTER_HASH_SLOTS}" in told

    def slots(self) -> set[int]:
        """Those that it says it serves."""
        (mine,) = [line for line in self.cluster("NODES").decode().splitlines() if "myself" in line]
        ranges = [word.partition("-") for word in mine.split()[8:] if not word.startswith("[")]
        return {slot for first, _, last in ranges for slot in range(int(first), int(last or first) + 1)}


class Cluster(Store):
    """Three masters at first; which of the nodes is one changes.

    Attributes:
        nodes: all of them.
    """

    def __init__(self, directory: Path, masters: int = 3) -> None:
        self._directory = directory
        self.nodes = [Node(directory / f"node-{n}") for n in range(masters)]

    @property
    def url(self) -> str:
        """All that it had at first."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:3])

    @property
    def masters(self) -> list[Node]:
        """That answer now."""
        return [node for node in self.nodes if node.role() == "master"]

    @property
    def clients(self) -> list[Any]:
        """Of the masters."""
        return [node.client for node in self.masters]

    async def start(self) -> None:
        """Until each node sees that all slots are served: 2 s, for so long a master waits before it serves any."""
        async with trio.open_nursery() as nursery:
            for node in self.nodes:
                nursery.start_soon(node.start)
        share = REDIS_CLUSTER_HASH_SLOTS / len(self.nodes)
        bounds = pairwise(round(n * share) for n in range(len(self.nodes) + 1))
        for epoch, (node, (first, behind)) in enumerate(zip(self.nodes, bounds, strict=True), start=1):
            node.cluster("SET-CONFIG-EPOCH", epoch)
            node.cluster("ADDSLOTSRANGE", first, behind - 1)
        for one, other in combinations(self.nodes, 2):
            one.cluster("MEET", "127.0.0.1", other.port, other.bus)
        await self.settled()

    async def settled(self) -> None:
        """Until every node is there, and sees all of it in order."""
        await until(lambda: all(node.is_fine() for node in self.nodes))

    def owner(self, key: str) -> Node:
        """The master that serves a key."""
        slot = key_slot(key.encode())
        (found,) = [node for node in self.masters if slot in node.slots()]
        return found

    async def replicate(self, master: Node) -> Node:
        """One more node, which has all that a master has."""
        replica = Node(self._directory / f"node-{len(self.nodes)}")
        self.nodes.append(replica)
        await replica.start()
        replica.cluster("MEET", "127.0.0.1", master.port, master.bus)
        known = master.id.encode()
        await until(lambda: known in replica.cluster("NODES"))
        replica.cluster("REPLICATE", known)
        await self.settled()
        return replica

    def replica_of(self, master: Node) -> Node | None:
        """One that has all that a master has and answers, if there is one."""
        for line in master.cluster("NODES").decode().splitlines():
            name, _, flags, of, *_ = line.split()
            if "slave" in flags and of == master.id:
                (found,) = [node for node in self.nodes if node.id == name]
                return found
        return None

    async def backed(self, *keys: str) -> tuple[Node, Node]:
        """A master that has some keys, and its replica, which is made if no master has one."""
        found = {node: self.replica_of(node) for node in self.masters}
        master = next((node for node, replica in found.items() if replica), None) or self.owner(keys[0])
        replica = found[master] or await self.replicate(master)
        for key in keys:
            if self.owner(key) is not master:
                await self.move_at_once(key, master)
        return master, replica

    async def announce(self, ports: Mapping[Node, int]) -> None:
        """Have the nodes tell clients these ports in the place of their own."""
        for node in self.nodes:
            node.client.config_set("cluster-announce-port", ports.get(node, 0))
        wanted = {ports.get(node, node.port) for node in self.nodes}

        def told() -> bool:
            lines = [line for node in self.nodes for line in node.cluster("NODES").decode().splitlines()]
            return {int(line.split()[1].split("@")[0].split(":")[1]) for line in lines} == wanted

        await until(told)

    def others(self, *but: Node) -> list[Node]:
        """The masters without some."""
        return [node for node in self.masters if node not in but]

    def misses(self, node: Node) -> bool:
        """Whether all other nodes take it for gone."""
        for other in self.nodes:
            if other is not node:
                (line,) = [x for x in other.cluster("NODES").decode().splitlines() if x.startswith(node.id)]
                if "fail" not in line.split()[2].split(","):
                    return False
        return True

    async def move(self, key: str, target: Node, *, slowly: float = 0.0) -> None:
        """Give the slot of a key to another master, key by key, as redis-cli does.

        Args:
            key: one in the slot.
            target: the master.
            slowly: seconds between one key and the next, in which the slot is in two places.
        """
        slot, source = key_slot(key.encode()), self.owner(key)
        target.cluster("SETSLOT", slot, "IMPORTING", source.id)
        source.cluster("SETSLOT", slot, "MIGRATING", target.id)
        while found := source.cluster("GETKEYSINSLOT", slot, 1):
            source.client.execute_command("MIGRATE", "127.0.0.1", target.port, found[0], 0, 5000)
            await trio.sleep(slowly)
        for node in (target, source, *self.others(target, source)):
            node.cluster("SETSLOT", slot, "NODE", target.id)

    async def move_at_once(self, key: str, target: Node) -> None:
        """The same in one step, which Valkey 9.0 brought."""
        slot, source = key_slot(key.encode()), self.owner(key)
        source.cluster("MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", target.id)
        await until(lambda: slot in target.slots() and slot not in source.slots())

    def ready(self) -> None:
        """For the next test: all nodes run, all is in order, nothing is stored. Not within Trio."""
        trio.run(self._mended)
        for client in self.clients:
            client.flushall()

    async def _mended(self) -> None:
        for node in self.nodes:
            await node.back()
            node.client.config_set("cluster-replica-no-failover", "no")
        await self.settled()

    def end(self) -> None:
        """Leave nothing behind."""
        for node in self.nodes:
            node.end()
