"""Everything at once, by a seed: ``RUNNEL_SOAK`` is how many seeds, ``RUNNEL_SOAK_SECONDS`` how long each lasts."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from functools import partial

import attrs
import pytest
import trio
from fault_bench import MAX_UNACKED, PARTITIONS, Bench, Child, pause
from fault_proxy import calls

SEEDS = range(int(os.environ.get("RUNNEL_SOAK", "1")))
SECONDS = float(os.environ.get("RUNNEL_SOAK_SECONDS", "6"))


@attrs.define(eq=False)
class Chaos:
    """Does harm, again and again; each kind is a method."""

    bench: Bench
    dice: random.Random
    children: list[Child] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)

    async def kill_a_worker(self) -> None:
        self.children.pop(self.dice.randrange(len(self.children))).kill()
        self.children.append(self.bench.child())

    async def freeze_a_worker(self) -> None:
        child = self.dice.choice(self.children)
        child.signal(signal.SIGSTOP)
        await trio.sleep(self.dice.uniform(0.1, 1.6))
        child.signal(signal.SIGCONT)

    async def stop_a_worker(self) -> None:
        child = self.children.pop(self.dice.randrange(len(self.children)))
        child.signal(signal.SIGTERM)
        self.children.append(self.bench.child())

    async def kill_the_server(self) -> None:
        self.bench.server.kill()
        await self.bench.server.start()

    async def freeze_the_server(self) -> None:
        self.bench.server.freeze()
        await trio.sleep(self.dice.uniform(0.1, 0.6))
        self.bench.server.thaw()

    async def forget_scripts(self) -> None:
        self.bench.server.client.script_flush()

    async def lose_a_reply(self) -> None:
        self.bench.proxy.lose_reply(calls(self.dice.choice(["commit", "send"])))

    async def cut(self) -> None:
        self.bench.proxy.cut()

    async def hold(self) -> None:
        self.bench.proxy.hold()
        await trio.sleep(self.dice.uniform(0.1, 1.2))
        self.bench.proxy.release()

    async def steal_a_commit(self) -> None:
        self.bench.proxy.steal(calls("commit"))
        await trio.sleep(self.dice.uniform(0.1, 0.5))
        await self.bench.proxy.deliver()

    async def run(self) -> None:
        """Until cancelled, which it notices when one harm is over."""
        kinds = [
            self.kill_a_worker, self.freeze_a_worker, self.stop_a_worker, self.kill_the_server,
            self.freeze_the_server, self.forget_scripts, self.lose_a_reply, self.cut, self.hold,
            self.steal_a_commit,
        ]  # fmt: skip
        self.dice.shuffle(kinds)
        while True:
            for harm in kinds:
                await trio.sleep(self.dice.uniform(0.05, 0.3))
                with trio.CancelScope(shield=True):
                    await harm()
                self.done[harm.__name__] += 1


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_of_all_this_loses_or_reorders_anything(seed: int, bench: Bench) -> None:
    chaos = Chaos(bench, random.Random(seed), [bench.child() for _ in range(2)])
    async with (
        bench.producer(bench.proxy.url) as producer,
        bench.app(work=pause(0.002)).worker(),
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(producer.send, 10**9, batch=5, pause=0.005))
        with trio.move_on_after(SECONDS):
            await chaos.run()
        producer.enough = True
    async with bench.app("last").worker():
        await bench.drained(20)
    losses = sum(chaos.done.values()) * PARTITIONS
    assert await bench.verdict(repeats=losses * MAX_UNACKED) == [], f"seed {seed}: {dict(chaos.done)}"
    assert len(producer.acked) > 50 * SECONDS
    assert sum(chaos.done.values()) > SECONDS
