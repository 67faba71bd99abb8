"""A thousand workers in one process: on the memory broker, in virtual time.

What is counted is the calls that reach the broker, which do not depend on the machine. A tenth of the workers
leaves after all have joined.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import attrs
import trio
from trio.testing import MockClock

from benchmarks.workload import Result
from runnel_trio import App, Record, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store

#: Seconds of virtual time after which it is given up.
PATIENCE = 600


class Nothing(Record):
    """Nothing is sent."""

    key: int


@attrs.define(eq=False)
class Counted:
    """A client of the store that counts what it is asked."""

    inner: Any
    calls: Counter[str]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if callable(found) and name not in {"wall", "clock", "log_key"}:
            self.calls[name] += 1
        return found


@attrs.define(eq=False)
class Crowd:
    """Workers of one processor, and their partitions."""

    partitions: int
    store: Store = attrs.field(factory=Store)
    calls: Counter[str] = attrs.field(factory=Counter)
    workers: list[Worker] = attrs.field(factory=list)
    stream: Any = None
    processor: Any = None

    def __attrs_post_init__(self) -> None:
        app = App("crowd", redis_url="memory://")
        self.stream = app.stream("nothing", Nothing, "key", partition_count=self.partitions)

        @app.processor(self.stream)
        async def own(events: Any) -> None:
            async for _ in events:
                pass

        self.processor = own

    def join(self, nursery: trio.Nursery, name: str) -> None:
        broker: Any = Counted(MemoryBroker(store=self.store), self.calls)
        self.workers.append(Worker(broker=broker, processors=[self.processor], member=name))
        nursery.start_soon(self.workers[-1].run)

    def owners(self) -> Counter[str]:
        """How many partitions each member holds."""
        broker = MemoryBroker(store=self.store)
        keys = [broker.log_key(self.stream.spec, number) for number in range(self.partitions)]
        leases = [self.store.log(key).leases.get(self.processor.name) for key in keys]
        return Counter(lease.owner for lease in leases if lease is not None and lease.owner)

    def settled(self) -> bool:
        """Everything is owned, evenly, by those who are there."""
        owners, size = self.owners(), min(len(self.workers), self.partitions)
        present = {worker.member for worker in self.workers}
        spread = max(owners.values(), default=0) - min(owners.values(), default=0)
        return (
            owners.total() == self.partitions and len(owners) == size and spread <= 1 and present >= {*owners}
        )

    async def settle(self, act: Callable[[], None]) -> Result:
        """Act, and wait: the calls, the seconds of virtual time, and those of the machine's."""
        self.calls.clear()
        virtual, wall = trio.current_time(), time.perf_counter()
        act()
        with trio.fail_after(PATIENCE):
            while not self.settled():
                await trio.sleep(0.1)
        return {
            "calls": self.calls.total(),
            "virtual": trio.current_time() - virtual,
            "wall": time.perf_counter() - wall,
        }


async def gathered(count: int, partitions: int) -> Result:
    """All join at once; then a tenth leaves."""
    crowd = Crowd(partitions)

    async with trio.open_nursery() as nursery:

        def join() -> None:
            for number in range(count):
                crowd.join(nursery, f"w{number}")

        def leave() -> None:
            for worker in crowd.workers[: max(1, count // 10)]:
                worker.stop()
            del crowd.workers[: max(1, count // 10)]

        joined = await crowd.settle(join)
        left = await crowd.settle(leave)
        nursery.cancel_scope.cancel()
    found = {f"join_{name}": value for name, value in joined.items()}
    return found | {f"leave_{name}": value for name, value in left.items()}


def gather(count: int, partitions: int) -> Result:
    """In a run of Trio of its own, whose clock jumps whenever everybody waits."""
    return trio.run(gathered, count, partitions, clock=MockClock(autojump_threshold=0))
