"""A cluster in virtual time: workers, what is done to them by a seed, and what must be true all the while.

Everything random comes from one generator, which is made from the seed, and from Trio's own, which orders
the tasks that are ready; that one is seeded too. So a seed is a history, and a history that went wrong can
be had again.
"""

from __future__ import annotations

import json
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import attrs
import trio
from sim_line import Ledger, Line, is_complete
from trio.testing import MockClock

from runnel_trio import App, Processor, Record, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import Batch
from runnel_trio._rules._cursor import parse_id

#: Workers at one time, at most.
_MOST = 6


class Wrong(AssertionError):
    """Something was not as promised; says what, and when."""


class Tick(Record):
    key: int
    n: int


@attrs.define(eq=False)
class Member:
    name: str
    line: Line
    worker: Worker
    frozen: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.frozen.set()


@attrs.define(eq=False)
class Cluster:
    """One schedule."""

    seed: int
    rng: random.Random = attrs.field(init=False)
    store: Store = attrs.field(factory=Store)
    ledger: Ledger = attrs.field(factory=Ledger)
    members: dict[str, Member] = attrs.field(factory=dict)
    gone: dict[str, Member] = attrs.field(factory=dict)
    trace: list[str] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)
    #: (partition, epoch) → places in the log, in the order in which they were handed out
    handed: dict[tuple[int, int], list[int]] = attrs.field(factory=lambda: defaultdict(list))
    ready: dict[int, int] = attrs.field(factory=lambda: defaultdict(int))
    done: set[tuple[int, int]] = attrs.field(factory=set)
    stored: dict[int, list[bytes]] = attrs.field(factory=lambda: defaultdict(list))
    places: dict[tuple[int, bytes], int] = attrs.field(factory=dict)
    app: App = attrs.field(init=False)
    processor: Processor = attrs.field(init=False)
    stream: Stream[Any] = attrs.field(init=False)
    taking: int = attrs.field(init=False)
    lanes: int = attrs.field(init=False)
    #: (partition, place) → key
    keys: dict[tuple[int, int], int] = attrs.field(factory=dict)
    repeated: dict[tuple[int, int], int] = attrs.field(factory=lambda: defaultdict(int))
    pause: float = attrs.field(init=False)
    _of_keys: random.Random = attrs.field(init=False)
    _numbers: int = 0
    _sent: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        rng = self.rng = random.Random(self.seed)
        self.app = App("sim", redis_url="memory://")
        count = rng.choice([1, 2, 3, 4, 8, 16])
        self.stream = self.app.stream("ticks", Tick, partition_by="key", partition_count=count)
        self.taking = rng.choice([0, 0, 2, 5])
        self.pause = rng.choice([0.0, 0.01, 0.05, 0.3])
        self._of_keys = random.Random(f"keys {self.seed}")
        lock_expiry, max_unacked = rng.choice([1, 2, 4]), rng.choice([1, 3, 10, 50])
        self.lanes = min(max_unacked, self._of_keys.choice([1, 1, 3, 8]))
        register = self.app.processor(
            self.stream,
            concurrency=self.lanes,
            max_ahead=self._of_keys.choice([1, 5, 10_000]),
            lock_expiry=lock_expiry,
            max_unacked=max_unacked,
            prefetch_count=rng.choice([1, 8, 50]),
            join_delay=rng.choice([0, 0, 0.2]),
            grace_period=rng.choice([0.2, 1, 3]),
            assignment_sleep=rng.choice([0.2, 1]),
            exception_policy="ignore",
            max_attempts=1000,  # who crashes here does not die of an event
        )
        self.processor = register(self._handle)

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():9.3f}  {what}")

    def fault(self, what: str) -> None:
        self.note(f"WRONG: {what}")
        self.wrong.append(what)

    # What the workers run

    async def _handle(self, events: Any) -> None:
        number, epoch = events.partition.number, events.partition.epoch
        member = self._owner(number, epoch)
        source = events.take(self.taking, within=0.1) if self.taking else events
        async for item in source:
            given = item if self.taking else [item]
            for event in given:
                self._handed_out(member, number, epoch, self.places[number, event.xid], given)
            await self._work(member, slow=event.record().key == 0)
            for event in given:
                self.done.add((number, self.places[number, event.xid]))
            if self.rng.random() < 0.01:
                raise ValueError("now and then")

    def _owner(self, number: int, epoch: int) -> Member:
        name = self.ledger.owners[number, epoch]
        return self.members.get(name) or self.gone[name]

    async def _work(self, member: Member, slow: bool) -> None:
        await trio.sleep(self.rng.uniform(0, 2 * self.pause) * (5 if slow else 1))
        await member.frozen.wait()  # a process that is stopped does nothing, whatever its timers say
        if member.line.dead:
            await trio.sleep_forever()

    def _handed_out(self, member: Member, number: int, epoch: int, place: int, given: Sequence[Any]) -> None:
        where = f"{member.name} partition {number} epoch {epoch} place {place}"
        if member.line.dead:
            return
        lease = self.store.log(self._key(number)).leases[self.processor.name]
        if lease.epoch != epoch and member.frozen.is_set():
            self.fault(f"{where}: handed out, but the epoch is {lease.epoch}, of {lease.owner}")
        if self.lanes > 1:
            self._one_of_many(where, number, epoch, place, given)
            return
        before = self.handed[number, epoch]
        if before and place != before[-1] + 1:
            self.fault(f"{where}: comes after place {before[-1]}")
        if not before:
            cursor = self.ledger.starts[number, epoch]
            first = self.places[number, cursor] + 1 if parse_id(cursor) != (0, 0) else 0
            if place != first:
                self.fault(f"{where}: the first one should be {first}")
        ready = self.ready[number]
        while (number, ready) in self.done:
            ready += 1
        self.ready[number] = ready
        if place - ready > max(0, self.taking - 1):
            self.fault(f"{where}: place {ready} is not done")
        before.append(place)

    def _one_of_many(self, where: str, number: int, epoch: int, place: int, given: Sequence[Any]) -> None:
        """All before it of its key are done, or stand in the same list before it."""
        self.repeated[number, epoch] += (number, place) in self.done
        beside = {self.places[number, event.xid] for event in given}
        key = self.keys[number, place]
        for earlier in range(place):
            if (
                self.keys[number, earlier] == key
                and (number, earlier) not in self.done
                and earlier not in beside
            ):
                self.fault(f"{where}: place {earlier} of the same key is not done")

    # What is done to it

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            self._join(nursery)
            nursery.start_soon(self._send)
            for _ in range(self.rng.randint(3, 10)):
                await trio.sleep(self.rng.uniform(0, self.processor.lock_expiry))
                await self._act(nursery)
            await self._settle(nursery)
            for member in self.members.values():
                member.worker.stop()
        self._check_the_end()

    async def _send(self) -> None:
        broker = MemoryBroker(store=self.store)
        for n in range(self.rng.randint(5, 25)):
            number = self.rng.randrange(self.stream.partition_count)
            count = self.rng.randint(1, 8)
            keys = [self._of_keys.randrange(4) if self.lanes > 1 else 1 for _ in range(count)]
            rows = [b'{"key":%d,"n":%d}' % (key, n * 10 + m) for m, key in enumerate(keys)]
            await broker.append(self.stream.spec, {number: Batch((b"data",), rows)})
            entries = await broker.entries(
                self.stream.spec, number, after=(self.stored[number] or [b"0-0"])[-1]
            )
            for xid, fields in entries:
                self.places[number, xid] = len(self.stored[number])
                self.keys[number, len(self.stored[number])] = json.loads(fields[1])["key"]
                self.stored[number].append(xid)
            await trio.sleep(self.rng.uniform(0, 0.5))
        self._sent.set()

    def _join(self, nursery: trio.Nursery) -> None:
        self._numbers += 1
        name = f"w{self._numbers}"
        line: Any = Line(self.store, self.ledger, self.rng)
        worker = Worker(broker=line, processors=[self.processor], member=name)
        self.members[name] = Member(name, line, worker)
        self.note(f"{name} joins")
        nursery.start_soon(self._live, self.members[name])

    async def _live(self, member: Member) -> None:
        await member.worker.run()
        self.note(f"{member.name} has ended")

    async def _act(self, nursery: trio.Nursery) -> None:
        what = self.rng.choice(["join", "join", "leave", "crash", "cut", "freeze", "flaky", "slow", "heal"])
        if what == "join" and len(self.members) < _MOST:
            self._join(nursery)
        elif what == "heal":
            self._heal()
        elif what != "join" and self.members:
            member = self.rng.choice(list(self.members.values()))
            self.note(f"{member.name}: {what}")
            getattr(self, f"_{what}")(member, nursery)

    def _leave(self, member: Member, _: trio.Nursery) -> None:
        self.gone[member.name] = self.members.pop(member.name)
        member.worker.stop()

    def _crash(self, member: Member, _: trio.Nursery) -> None:
        self.gone[member.name] = self.members.pop(member.name)
        member.line.die()
        member.worker.abort()

    def _cut(self, member: Member, nursery: trio.Nursery) -> None:
        member.line.down()
        nursery.start_soon(self._back_after_a_while, member)

    def _freeze(self, member: Member, nursery: trio.Nursery) -> None:
        if member.frozen.is_set():
            member.frozen = trio.Event()
        self._cut(member, nursery)

    async def _back_after_a_while(self, member: Member) -> None:
        await trio.sleep(self.rng.uniform(0.1, 3 * self.processor.lock_expiry))
        self.note(f"{member.name} is back")
        member.line.up()
        member.frozen.set()

    def _flaky(self, member: Member, _: trio.Nursery) -> None:
        member.line.loss = self.rng.uniform(0.05, 0.5)

    def _slow(self, member: Member, _: trio.Nursery) -> None:
        member.line.delay = self.rng.uniform(0.01, 0.3)

    def _heal(self) -> None:
        self.note("all lines are well")
        for member in [*self.members.values(), *self.gone.values()]:
            member.line.loss = member.line.delay = 0.0
            member.line.up()
            member.frozen.set()

    # What must be true in the end

    async def _settle(self, nursery: trio.Nursery) -> None:
        await self._sent.wait()
        self._heal()
        if not self.members:
            self._join(nursery)
        expiry = self.processor.lock_expiry
        with trio.move_on_after(300) as patience:
            await trio.sleep(2 * expiry + 1)
            while not is_complete(MemoryBroker(store=self.store), self.processor.spec, self.store):
                await trio.sleep(0.5)
        if patience.cancelled_caught:
            self.fault("it is not all handled after 300 s")
        self._check_shares()
        generation = self.store.parties[self.processor.spec].generation
        epochs = self._epochs()
        await trio.sleep(1.5 * expiry)
        if self.store.parties[self.processor.spec].generation != generation or self._epochs() != epochs:
            self.fault("there is no rest")

    def _check_shares(self) -> None:
        count = self.stream.partition_count
        shares = dict.fromkeys(self.members, 0)
        for number in range(count):
            owner = self.store.log(self._key(number)).leases[self.processor.name].owner
            if owner not in shares:
                self.fault(f"partition {number} belongs to {owner or 'nobody'}")
            else:
                shares[owner] += 1
        if shares and max(shares.values()) - min(shares.values()) > 1:
            self.fault(f"the shares are {shares}")

    def _epochs(self) -> list[int]:
        leases = [self.store.log(self._key(n)).leases for n in range(self.stream.partition_count)]
        return [x[self.processor.name].epoch for x in leases]

    def _check_the_end(self) -> None:
        for number, xids in self.stored.items():
            left = [place for place in range(len(xids)) if (number, place) not in self.done]
            if left:
                self.fault(f"partition {number}: places {left} were never handled to the end")
        self._check_plans()
        self._check_commits()
        self._check_repeats()

    def _check_plans(self) -> None:
        """Each plan is balanced, and takes nothing from a member that it gives something else."""
        before: dict[str, tuple[int, ...]] = {}
        for plan in filter(None, self.ledger.plans):  # where all are about to leave, it is empty
            sizes = [len(numbers) for numbers in plan.values()]
            whole = sorted(number for numbers in plan.values() for number in numbers)
            if whole != list(range(self.stream.partition_count)) or max(sizes) - min(sizes) > 1:
                self.fault(f"the plan {plan} is not balanced")
            for member, numbers in plan.items():
                had = set(before.get(member, ()))
                if had - set(numbers) and set(numbers) - had:
                    self.fault(f"{member} gives and is given: {before} became {plan}")
            before = plan

    def _check_commits(self) -> None:
        last: dict[int, tuple[int, int]] = {}
        for number, epoch, owner, cursor in self.ledger.moves:
            place = self.places.get((number, cursor), -1)  # with lanes, a commit may leave it at the start
            if self.ledger.owners.get((number, epoch)) != owner:
                self.fault(f"partition {number}: {owner} committed in epoch {epoch} of another")
            before = last.get(number, (0, -1))
            if epoch < before[0] or place < before[1]:
                self.fault(f"partition {number}: {(epoch, place)} was committed after {before}")
            last[number] = (epoch, place)

    def _check_repeats(self) -> None:
        """Each change of owners repeats what was not committed, at most `max_unacked` and what was in hand."""
        bound = self.processor.max_unacked + max(1, self.taking)
        for (number, epoch), repeated in self.repeated.items():
            if repeated > self.processor.max_unacked + 2 * self.lanes * max(1, self.taking):
                self.fault(f"partition {number} epoch {epoch}: repeats {repeated}")
        reached: dict[int, int] = {}
        for (number, epoch), places in sorted(self.handed.items()):
            repeated = reached.get(number, -1) - places[0] + 1
            if repeated > bound:
                self.fault(f"partition {number} epoch {epoch}: repeats {repeated}, more than {bound}")
            reached[number] = max(reached.get(number, -1), places[-1])

    def _key(self, number: int) -> str:
        return MemoryBroker(store=self.store).log_key(self.stream.spec, number)


def story(seed: int) -> str:
    """Of a schedule that went wrong; nothing of one that did not."""
    logging.disable()
    try:
        simulate(seed)
    except Wrong as wrong:
        return str(wrong)
    return ""


def simulate(seed: int) -> Cluster:
    """Run the schedule of a seed.

    Raises:
        Wrong: something was not as promised; with the whole history.
    """
    found: list[Cluster] = []

    async def main() -> None:
        # Trio orders the tasks that are ready by a generator of its own, so that nobody relies on an order.
        trio._core._run._r.seed(seed)  # type: ignore[attr-defined]  # there is no public way
        found.append(Cluster(seed))
        with trio.fail_after(2000):
            await found[0].run()

    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseException as error:
        story = "\n".join(found[0].trace) if found else ""
        raise Wrong(f"seed {seed}: {error!r}\n{story}") from error
    (cluster,) = found
    if cluster.wrong:
        raise Wrong(f"seed {seed}: {cluster.wrong[0]}\n" + "\n".join(cluster.trace))
    return cluster
