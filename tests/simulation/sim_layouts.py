"""A stream whose partitions are changed under load, in virtual time: by a seed, as in `sim_cluster`.

Senders and workers are as separate as processes are: each has an app of its own, and so its own idea of where
the stream is. Sends of one key follow each other, whoever makes them; so their order is known.

The app has one to three processors. Those after the first are slow, or paused or quarantined again and again, or
run on no worker until late: a partition that is full of what they have not read makes the senders wait.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import attrs
import trio
from sim_cluster import Wrong
from sim_line import Ledger, Line
from trio.testing import MockClock

from runnel_trio import App, Record, Stream, Worker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import stages
from runnel_trio._broker._values import Layouts, ProcessorSpec
from runnel_trio._operate._repartition import Repartition
from runnel_trio._operate._standing import pause

_COUNTS = [1, 2, 3, 4, 8, 16]
#: What a processor is like besides the first, which is quick.
_KINDS = ["slow", "paused", "quarantined", "absent"]
_LOSSES = {"events-lost", "events-missed"}


class Tick(Record):
    key: int
    n: int


@attrs.define(eq=False)
class Moving:
    """One schedule."""

    seed: int
    rng: random.Random = attrs.field(init=False)
    count: int = attrs.field(init=False)
    options: dict[str, Any] = attrs.field(init=False)
    trace: list[str] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)
    sent: dict[int, int] = attrs.field(factory=lambda: defaultdict(int))
    done: dict[str, dict[int, int]] = attrs.field(factory=dict)
    kinds: dict[str, str] = attrs.field(factory=dict)
    absent: set[str] = attrs.field(factory=set)
    repeats: int = 0
    disturbed: bool = False
    layouts: Layouts | None = None
    _lines: dict[Worker, Line] = attrs.field(factory=dict)
    _workers: list[Worker] = attrs.field(factory=list)
    _names: int = 0
    _failed: trio.Event = attrs.field(factory=trio.Event)
    _loaded: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        rng = self.rng = random.Random(self.seed)
        self.count = rng.choice(_COUNTS)
        self.options = {
            "lock_expiry": rng.choice([1, 3]),
            "max_unacked": rng.choice([1, 5, 50]),
            "prefetch_count": rng.choice([1, 8, 50]),
            "join_delay": rng.choice([0, 0.2]),
            "grace_period": rng.choice([0.2, 2]),
            "assignment_sleep": 0.2,
            "max_attempts": 1000,
        }
        lanes = random.Random(f"lanes {self.seed}").choice([1, 1, 3, 8])
        self.options["concurrency"] = min(lanes, self.options["max_unacked"])
        self.kinds = {"quick": "quick"} | {kind: kind for kind in rng.sample(_KINDS, rng.randint(0, 2))}
        self.done = {name: defaultdict(int) for name in self.kinds}
        self.absent = {"absent"} & self.kinds.keys()

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():9.3f}  {what}")

    def fault(self, what: str) -> None:
        self.note(f"WRONG: {what}")
        self.wrong.append(what)
        self._failed.set()

    async def _stop_at_once(self, scope: trio.CancelScope) -> None:
        await self._failed.wait()
        scope.cancel()

    def app(self) -> tuple[App, Stream[Tick]]:
        app = App("sim", redis_url="memory://")
        return app, app.stream(
            "ticks", Tick, partition_by="key", partition_count=self.count, partition_size=9
        )

    async def run(self) -> None:
        app, stream = self.app()
        async with app.session(), trio.open_nursery() as nursery, app._shared.used() as broker:
            await broker.declare(stream.declared_spec)
            if "paused" in self.kinds:  # before it has ever begun
                await pause(
                    broker, ProcessorSpec(stream=stream.spec, name="paused"), None, "deploying", "sim"
                )
            self._join(nursery, broker)
            nursery.start_soon(self._load)
            nursery.start_soon(self._come_late, nursery, broker)
            nursery.start_soon(self._stand_still, broker, stream)
            nursery.start_soon(self._stop_at_once, nursery.cancel_scope)
            for _ in range(self.rng.randint(1, 3)):
                await trio.sleep(self.rng.uniform(0, 4))
                await self._change(nursery, broker, stream)
            await self._loaded.wait()
            await self._settle(broker, stream)
            nursery.cancel_scope.cancel()
        for name, done in self.done.items():
            if done != self.sent:
                self.fault(f"sent {dict(self.sent)}, {name} handled {dict(done)}")
        if lost := [
            worker.counts for worker in self._workers if any(fact in _LOSSES for _, fact in worker.counts)
        ]:
            self.fault(f"events are said to be lost: {lost}")
        if self.repeats and not self.disturbed:
            self.fault(f"{self.repeats} events were handled again, though nobody crashed")

    # Load

    async def _load(self) -> None:
        async with trio.open_nursery() as nursery:
            streams = [self.app()[1] for _ in range(3)]
            for key in range(self.rng.randint(2, 12)):
                nursery.start_soon(self._send, key, streams)
        self._loaded.set()

    async def _send(self, key: int, streams: list[Stream[Tick]]) -> None:
        for _ in range(self.rng.randint(5, 25)):
            stream, many = self.rng.choice(streams), self.rng.randint(1, 4)
            first = self.sent[key] + 1
            await stream.send(*(Tick(key=key, n=first + n) for n in range(many)))
            self.sent[key] += many
            await trio.sleep(self.rng.uniform(0, 1))

    # Workers

    def _join(self, nursery: trio.Nursery, broker: Any) -> None:
        self._names += 1
        name, (app, stream) = f"w{self._names}", self.app()
        line = Line(broker.store, Ledger(), self.rng)
        for kind in self.kinds:
            policy = "quarantine" if kind == "quarantined" else "halt"
            options = {**self.options, "exception_policy": policy}
            app.processor(stream, name=kind, **options)(self._handler(line, name, kind))
        declared = app.processors.values()
        worker = Worker(
            broker=line,  # type: ignore[arg-type]  # it is as good
            processors=[x for x in declared if x.name not in self.absent],
            declared=declared,
            member=name,
        )
        self._lines[worker] = line
        self._workers.append(worker)
        self.note(f"{name} joins")
        nursery.start_soon(worker.run)

    def _handler(self, line: Line, name: str, processor: str) -> Any:
        async def handle(events: Any) -> None:
            async for tick in events.records():
                await self._handle(line, f"{name}: {processor}: key {tick.key} n {tick.n}", processor, tick)

        return handle

    async def _handle(self, line: Line, where: str, processor: str, tick: Tick) -> None:
        done = self.done[processor]
        if not line.dead and tick.n > done[tick.key] + 1:
            self.fault(f"{where} is handed out, but only {done[tick.key]} are handled")
        await trio.sleep(self.rng.uniform(0, 0.2 if self.kinds[processor] == "slow" else 0.05))
        if line.dead:
            await trio.sleep_forever()
        if self.kinds[processor] == "quarantined" and self.rng.random() < 0.05:
            raise ValueError("now and then")
        self.repeats += tick.n <= done[tick.key]
        done[tick.key] = max(done[tick.key], tick.n)

    async def _come_late(self, nursery: trio.Nursery, broker: Any) -> None:
        """From now on each new worker runs all processors."""
        await trio.sleep(self.rng.uniform(0, 8))
        if self.absent:
            self.absent.clear()
            self._join(nursery, broker)

    async def _stand_still(self, broker: Broker, stream: Stream[Tick]) -> None:
        """Lift what stands still, after a while, and pause what is paused now and then."""
        while True:
            await trio.sleep(self.rng.uniform(0, 3))
            for name in sorted({"paused", "quarantined"} & self.kinds.keys()):
                place = (await stages(broker, ProcessorSpec(stream=stream.spec, name=name)))[0]
                for why in await broker.quarantined(place, range(place.stream.partition_count)):
                    if why is not None:
                        await broker.resume(place, why, skip=False)
                if name == "paused" and not self._loaded.is_set() and self.rng.random() < 0.5:
                    await pause(broker, place, None, "once more", "sim")

    def _disturb(self, nursery: trio.Nursery, broker: Broker) -> None:
        what = self.rng.choice(["join", "leave", "crash", "lossy", "nothing"])
        worker = self.rng.choice(list(self._lines))
        if what == "join" and len(self._lines) < 4:
            self._join(nursery, broker)
        elif what == "lossy":
            self.disturbed, self._lines[worker].loss = True, 0.3
        elif what in {"leave", "crash"} and len(self._lines) > 1:
            self.note(f"{worker.member}: {what}")
            line = self._lines.pop(worker)
            if what == "leave":
                worker.stop()
            else:
                self.disturbed = True
                line.die()
                worker.abort()
            if not any(len(worker.processors) == len(self.kinds) for worker in self._lines):
                self._join(nursery, broker)

    # The change

    async def _change(self, nursery: trio.Nursery, broker: Broker, stream: Stream[Tick]) -> None:
        """Begun by a command that may end at any step, and completed by whoever meets it, or a second one."""
        layouts = await broker.layouts(stream.spec)
        assert layouts is not None
        count = self.rng.choice([x for x in _COUNTS if x != layouts.current.partition_count])
        self.note(f"{layouts.current.partition_count} → {count}")
        with trio.CancelScope() as scope:
            nursery.start_soon(self._cut_short, scope, self.rng.randint(0, 40))
            await broker.repartition(layouts.current, count)
        self._disturb(nursery, broker)
        await trio.sleep(self.rng.choice([0, 0.5, 3]))
        change = Repartition(broker, stream.declared_spec)
        self.note(f"layout {(await change.begin(count)).current.layout} is open")
        while not await change.finish(await change.look()):
            self._disturb(nursery, broker)
            await trio.sleep(self.rng.uniform(0, 2))
        self.note("the former one is gone")

    async def _cut_short(self, scope: trio.CancelScope, steps: int) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async def _settle(self, broker: Broker, stream: Stream[Tick]) -> None:
        for line in self._lines.values():
            line.loss = 0.0
        layouts = await broker.layouts(stream.spec)
        assert layouts is not None
        with trio.move_on_after(100) as patience:
            for name in self.kinds:
                while await broker.undrained(ProcessorSpec(stream=layouts.current, name=name)):
                    await trio.sleep(0.5)
        if patience.cancelled_caught:
            self.fault("it is not all handled after 100 s")
        self.layouts = layouts


def simulate(seed: int) -> Moving:
    """Run the schedule of a seed.

    Raises:
        Wrong: something was not as promised; with the whole history.
    """
    found = Moving(seed)

    async def main() -> None:
        random.seed(seed)  # by which senders wait for room
        trio._core._run._r.seed(seed)  # type: ignore[attr-defined]  # there is no public way
        with trio.fail_after(500):
            await found.run()

    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseException as error:
        raise Wrong(f"seed {seed}: {error!r}\n" + "\n".join(found.trace)) from error
    if found.wrong:
        raise Wrong(f"seed {seed}: {found.wrong[0]}\n" + "\n".join(found.trace))
    return found
