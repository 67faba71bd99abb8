"""Workers that park keys, in virtual time: what a plan does to them, and what must be true all the while.

The model keeps for each key the events that are still to come, in the order in which they were sent, and
knows nothing of lists and heads. It learns what an operator has removed from the store, at the moment when
that happens there. Whoever is given an event is given the next one of its key, or goes back once, when it
has taken the partition over, to what the owner before had not committed.
"""

from __future__ import annotations

import copy
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import attrs
import trio
from sim_lanes import OnlyHopeless
from sim_line import Ledger, Line
from sim_plans import Wrong, run_trial

from runnel_trio import App, Backoff, Middleware, Processor, Record, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Log, Store
from runnel_trio._broker._values import Batch, ParkedChange, ProcessorSpec
from runnel_trio._operate._parked import Parked, drop, hold, parked, unpark
from runnel_trio._operate._repartition import Repartition
from runnel_trio._rules._parked import unpack_entry
from runnel_trio.middleware import Dead, RetryMiddleware

__all__ = ["Plan", "carry_out", "random_plan"]

#: How an event's turn may end; those of the second line do so only as often as the event fails.
HOWS = (
    "ok", "ok", "ok", "ok", "break", "return", "cancel",
    "raise", "raise", "raise", "raise", "late", "again", "dead", "die",
)  # fmt: skip
#: What may happen meanwhile.
ACTS = (
    "join", "join", "stop", "kill", "abort", "unpark", "unpark", "unpark", "unpark one", "unpark one", "skip",
    "skip", "drop", "hold", "hold", "hold busy", "resume", "rewind", "snapshot", "failover",
)  # fmt: skip
#: Seconds that a turn may take, if the processor has a limit at all.
TIMEOUT = 3.0
#: Seconds within which an owner hears of what an operator has removed.
HEARD = 0.5


class Task(Record):
    key: int
    n: int
    takes: float
    how: str
    fails: int


class Failing(Exception):
    """For the policy."""


class Again(Exception):
    """To be tried again before it is parked."""


class Hopeless(Exception):
    """To be set aside."""


@attrs.frozen
class Plan:
    """A schedule.

    Attributes:
        events: key, seconds, ending and number of failures of each, in the order of the log.
        later: how many of them are sent in the course of things.
        lanes, max_unacked, max_ahead, prefetch, limited, max_parked, max_attempts: of the processor.
        taking: how many events make a list; 0: no lists.
        retry: seconds until a parked key is tried again by itself; 0: never.
        policy: of the processor.
        count: how many partitions there are at first.
        becomes: how many there are later, one after another.
        lossy, slow: of each worker's line.
        acts: seconds to wait, and what is done then.
        order: of tasks that are ready at the same time.
    """

    events: Sequence[tuple[int, float, str, int]]
    later: int = 0
    lanes: int = 2
    max_unacked: int = 20
    max_ahead: int = 10_000
    prefetch: int = 50
    limited: bool = False
    max_parked: int = 10_000
    max_attempts: int = 1000
    taking: int = 0
    retry: float = 0.0
    policy: str = "park"
    count: int = 1
    becomes: Sequence[int] = ()
    lossy: float = 0.0
    slow: float = 0.0
    acts: Sequence[tuple[float, str]] = ()
    order: int = 0


@cache
def _streams(count: int) -> tuple[App, Stream[Any], Stream[Any]]:
    """As they are declared, once for each run of the tests: to make a codec takes long."""
    app = App("sim", redis_url="memory://")
    dead = app.stream("dead", Dead, partition_by="xid", partition_count=1)
    return app, app.stream("tasks", Task, partition_by="key", partition_count=count), dead


@attrs.define(eq=False)
class Key:
    """What is still to come of a key.

    Attributes:
        queue: its events, in order; after a rewind some come twice.
        over: places of those that are handled, or set aside.
        gone: places of those that an operator has removed, and when.
        at: everything before this place is over or gone.
        held: since when an operator holds it; None: he does not.
    """

    queue: list[int] = attrs.field(factory=list)
    over: set[int] = attrs.field(factory=set)
    gone: dict[int, float] = attrs.field(factory=dict)
    at: int = 0
    held: float | None = None

    def end(self, place: int) -> None:
        self.over.add(place)
        self.move_on()

    def move_on(self) -> None:
        while self.at < len(self.queue) and (self.at in self.over or self.at in self.gone):
            self.at += 1

    def remove(self, numbers: list[int], now: float) -> None:
        """An operator has removed these, which stood in a list; it begins at or before the first to come."""
        for first in range(min(self.at, len(self.queue)), -1, -1):
            places, at = [], first
            for n in numbers:
                while at in self.gone:
                    at += 1
                if self.queue[at : at + 1] != [n]:
                    break
                places.append(at)
                at += 1
            else:
                self.gone.update((place, now) for place in places if place not in self.over)
                self.move_on()
                return
        raise Wrong(f"{numbers} stood in a list, and {self.queue[self.at :]} are to come")


@attrs.define(eq=False)
class Tenure:
    """One ownership of one partition.

    Attributes:
        last: of each key the place of the event that was begun last, and whether that is over.
        repeated: places that were over before.
    """

    last: dict[int, tuple[int, bool]] = attrs.field(factory=dict)
    repeated: set[tuple[int, int]] = attrs.field(factory=set)


@attrs.define(eq=False)
class Operator(MemoryBroker):
    """A client that tells the model what it removes."""

    trial: Any = None

    def _change(self, processor: ProcessorSpec, number: int, change: ParkedChange) -> bool:
        lists = self._log(processor, number).parked.get(processor.name, {})
        before = dict(lists[change.key].entries) if change.key in lists else {}
        done = super()._change(processor, number, change)
        after = lists[change.key].entries if change.key in lists else {}
        self.trial.removed([before[x] for x in sorted(before.keys() - after.keys())] if done else [])
        return done


@attrs.define(eq=False)
class Trial:
    """A plan that is carried out."""

    plan: Plan
    store: Store = attrs.field(factory=Store)
    ledger: Ledger = attrs.field(factory=Ledger)
    members: dict[str, tuple[Worker, Line]] = attrs.field(factory=dict)
    dead: set[str] = attrs.field(factory=set)
    trace: list[str] = attrs.field(factory=list)
    keys: dict[int, Key] = attrs.field(factory=lambda: defaultdict(Key))
    tenures: dict[Any, Tenure] = attrs.field(factory=lambda: defaultdict(Tenure))
    forgiven: set[Any] = attrs.field(factory=set)
    in_hand: dict[int, tuple[str, list[tuple[int, int]]]] = attrs.field(factory=dict)
    failed: dict[tuple[int, int], int] = attrs.field(factory=lambda: defaultdict(int))
    deaths: dict[tuple[int, int], int] = attrs.field(factory=lambda: defaultdict(int))
    ends: dict[tuple[int, int], int] = attrs.field(factory=lambda: defaultdict(int))
    ended: dict[tuple[int, int], float] = attrs.field(factory=dict)
    parked_once: bool = False
    stream: Stream[Any] = attrs.field(init=False)
    processor: Processor = attrs.field(init=False)
    broker: Operator = attrs.field(init=False)
    rng: random.Random = attrs.field(init=False)
    _numbers: int = 0
    _counts: dict[int, int] = attrs.field(factory=lambda: defaultdict(int))
    _sent: list[tuple[int, int, bytes]] = attrs.field(factory=list)
    _snapshot: Any = None
    _lossy: bool = False
    _healed: bool = False
    _over: bool = False
    _nursery: Any = None
    _changing: bool = False

    def __attrs_post_init__(self) -> None:
        self.rng = random.Random(self.plan.order)
        self.broker = Operator(store=self.store, trial=self)
        self.stream, self.processor = self._declared("")

    def _declared(self, member: str) -> tuple[Stream[Any], Processor]:
        """As it is in each process, which has its own idea of the stream."""
        plan = self.plan
        app, *declared = _streams(plan.count)
        stream, sink = map(copy.copy, declared)
        app.streams.update({"tasks": stream, "dead": sink})
        app.processors.clear()
        links: list[Middleware] = [
            RetryMiddleware(attempts=2, delay=0.5, jitter=False, on=(Again,), hold="key"),
            OnlyHopelessHere(sink),
        ]
        processor = app.processor(
            stream,
            name="walk",
            concurrency=plan.lanes,
            max_unacked=plan.max_unacked,
            max_ahead=plan.max_ahead,
            prefetch_count=plan.prefetch,
            timeout=TIMEOUT if plan.limited else 0,
            grace_period=1,
            lock_expiry=4,
            join_delay=0,
            assignment_sleep=0.2,
            exception_policy=plan.policy,
            max_attempts=plan.max_attempts,
            max_parked=plan.max_parked,
            park_retry=Backoff(delay=plan.retry, jitter=False) if plan.retry else None,
            middleware=links,
        )(partial(self._handle, member))
        return stream, processor

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():8.3f}  {what}")

    def wrong(self, what: str) -> None:
        self.note(f"WRONG {what}")
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()  # a worker makes of this what it makes of any exception
        raise Wrong(what)

    # What the workers run

    async def _handle(self, member: str, events: Any) -> None:
        where = events.partition
        tenure = (member, where.layout, where.number, where.epoch)
        source = events.take(self.plan.taking, within=0.2) if self.plan.taking else events
        async for item in source:
            found = item if self.plan.taking else [item]
            tasks = [event.record() for event in found]
            given = [(task.key, task.n) for task in tasks]
            places = self._begin(tenure, given, found)
            self.in_hand[id(given)] = member, given
            try:
                how = await self._work(member, tasks)
            finally:
                del self.in_hand[id(given)]
            self._end(tenure, given, places, how)
            if how == "break":
                break
            if how == "return":
                return

    def _begin(self, tenure: Any, given: list[tuple[int, int]], found: Sequence[Any]) -> dict[int, list[int]]:
        """The places of the events, by keys."""
        member = tenure[0]
        self.note(f"{member} is given {given}" + (" again" if found[0].parked else ""))
        if member in self.dead or tenure in self.forgiven:
            return {}
        for other, theirs in self.in_hand.values():
            if other not in self.dead and {k for k, _ in theirs} & {k for k, _ in given}:
                self.wrong(f"{given} is begun while {theirs} is in hand of {other}")
        living = [x for x in self.in_hand.values() if x[0] not in self.dead]
        if len(living) >= self.plan.lanes * (1 + max([self.plan.count, *self.plan.becomes])):
            self.wrong(f"{len(living) + 1} are in hand at a time")
        places: dict[int, list[int]] = defaultdict(list)
        for key, n in given:
            before = (places[key][-1], True) if places[key] else self.tenures[tenure].last.get(key)
            places[key].append(self._place(tenure, key, n, before))
        for key, found_there in places.items():
            self.tenures[tenure].last[key] = found_there[0], False
        return places

    def _place(self, tenure: Any, key: int, n: int, before: tuple[int, bool] | None) -> int:
        """Where it stands among what is to come of its key, which must be next."""
        kept, mine = self.keys[key], self.tenures[tenure]
        if before is None:
            found = [x for x in range(min(kept.at + 1, len(kept.queue))) if kept.queue[x] == n]
            if not found:  # one that was removed a moment ago
                found = [x for x in kept.gone if kept.queue[x] == n]
            place = max(found, default=-1)
        else:
            last, is_over = before
            place = last + 1 if is_over else last
            while place in kept.gone and kept.queue[place] != n:
                place += 1
            if kept.queue[place : place + 1] != [n]:
                place = -1
        if place < 0:
            self.wrong(f"{key, n} is begun after {before}, but {kept.queue[kept.at :]} are to come")
        removed = kept.gone.get(place)
        if removed is not None and removed + HEARD + 2 * self._slowness < trio.current_time():
            self.wrong(f"{key, n} is begun, which was removed at {removed:.3f}")
        # One that was in hand when its key was held may be tried again in place.
        is_held = kept.held is not None and kept.held + HEARD + 2 * self._slowness < trio.current_time()
        if is_held and before != (place, False):
            self.wrong(f"{key, n} is begun, whose key is held since {kept.held:.3f}")
        if place in kept.over:
            mine.repeated.add((key, place))
            self._check_repeats(tenure, mine)
        return place

    @property
    def _slowness(self) -> float:
        return 20 * self.plan.slow + 10 * self.plan.lossy

    def _check_repeats(self, tenure: Any, mine: Tenure) -> None:
        if not self._lossy and len(mine.repeated) > self.plan.max_unacked + max(1, self.plan.taking):
            self.wrong(f"{tenure} repeats {len(mine.repeated)} that were over")

    async def _work(self, member: str, tasks: list[Task]) -> str:
        with trio.move_on_after(0.25 if any(x.how == "cancel" for x in tasks) else 1e9):
            await trio.sleep(sum(task.takes for task in tasks))
        for task in tasks:
            one = task.key, task.n
            if task.how == "poison" or (task.how == "poison later" and self.failed[one] >= task.fails):
                await self._die(member, one)
            if task.how in {"ok", "break", "return", "cancel"} or self.failed[one] >= task.fails:
                continue
            if member in self.dead:
                await trio.sleep_forever()
            self.failed[one] += 1
            self.note(f"{member} fails with {one}: {task.how}")
            if task.how == "late" and self.plan.limited:
                await trio.sleep(2 * TIMEOUT)
            elif task.how == "again":
                raise Again
            elif task.how == "die":
                await self._die(member, one)
            elif task.how != "dead":
                raise Failing
        if any(task.how == "dead" for task in tasks):
            return "dead"
        return next((x.how for x in tasks if x.how in {"break", "return"}), "ok")

    async def _die(self, member: str, one: tuple[int, int]) -> None:
        if member in self.dead:
            await trio.sleep_forever()
        self.deaths[one] += 1
        self.ends[one] += 1
        if self.deaths[one] > self.plan.max_attempts:
            self.wrong(f"{one} has ended {self.deaths[one]} processes")
        if member in self.members:
            self._gone(member, "dies")
            self._nursery.start_soon(self._join_soon)
        await trio.sleep_forever()

    def _end(self, tenure: Any, given: list[tuple[int, int]], places: dict[int, list[int]], how: str) -> None:
        member = tenure[0]
        if not (member in self.dead or tenure in self.forgiven):  # else nobody has heard of it
            self.note(f"{member} is through with {given}: {how}")
            for one in given:
                self.ended[one] = trio.current_time()
            for key, found in places.items():
                for place in found:
                    self.keys[key].end(place)
                self.tenures[tenure].last[key] = found[-1], True
        if how == "dead":
            raise Hopeless

    # What is done to them

    async def run(self) -> None:
        plan = self.plan
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self.broker.declare(self.stream.declared_spec)
            early = len(plan.events) - plan.later
            await self._send(plan.events[:early])
            self._join()
            nursery.start_soon(self._change_partitions)
            rest = list(plan.events[early:])
            for seconds, what in plan.acts:
                await trio.sleep(seconds + 0.00137)
                if rest:
                    await self._send([rest.pop(0)])
                await self._act(what)
            while rest:
                await self._send([rest.pop(0)])
                await trio.sleep(0.05)
            await self._drain()
            self._over = True  # whoever was to join soon need not
            for worker, _ in self.members.values():
                worker.stop()
        if left := {
            key: kept.queue[kept.at :] for key, kept in self.keys.items() if kept.at < len(kept.queue)
        }:
            self.wrong(f"{left} were acknowledged and never handled")

    async def _drain(self) -> None:
        """All that is parked is tried again, and what stands still goes on, until nothing is left."""
        self._healed = True
        for _, line in self.members.values():
            line.loss = line.delay = 0.0
        with trio.move_on_after(self._patience) as patience:
            while not await self._is_complete():
                if not self.members:
                    self._join()
                await trio.sleep(0.5)
                await self._unpark([x for x in await self._parked() if x.next is None])
                await self._resume()
        if patience.cancelled_caught:
            left = {k: x.queue[x.at :] for k, x in self.keys.items() if x.at < len(x.queue)}
            self.wrong(f"it does not drain: {left} are to come, parked are {self._lists()}")

    async def _is_complete(self) -> bool:
        if self._changing or self._lists():
            return False
        stream = (await self.broker.layouts(self.stream.declared_spec)).current  # type: ignore[union-attr]  # it was declared
        logs = [self.store.log_of(stream, number) for number in range(stream.partition_count)]
        return all(
            "walk" in log.groups and log.groups["walk"].cursor == b"%d-%d" % log.last_id
            for log in logs
            if log.added
        )

    def _logs(self) -> list[tuple[str, Log]]:
        return [(name, log) for name, log in self.store.logs.items() if ":tasks" in name]

    def _lists(self) -> dict[str, Any]:
        return {name: log.heads("walk") for name, log in self._logs() if log.parked.get("walk")}

    @property
    def _patience(self) -> float:
        """Seconds in which all is over even if it is done one after the other, as often as it fails."""
        each = sum((2 + takes + 2 * TIMEOUT) * (3 + fails) for _, takes, _, fails in self.plan.events)
        return 200 + 3 * each + 10 * self.plan.retry

    async def _send(self, events: Sequence[tuple[int, float, str, int]]) -> None:
        for key, takes, how, fails in events:
            n = self._counts[key]
            self._counts[key] += 1
            row = json.dumps({"key": key, "n": n, "takes": takes, "how": how, "fails": fails}).encode()
            self.keys[key].queue.append(n)
            self._sent.append((key, n, row))
            await self._append(key, row)

    async def _append(self, key: int, row: bytes) -> None:
        while True:
            stream = (await self.broker.layouts(self.stream.declared_spec)).current  # type: ignore[union-attr]  # it was declared
            number = self.stream.hasher(key) % stream.partition_count
            if self.store.takes(stream, number):
                await MemoryBroker(store=self.store).append(stream, {number: Batch((b"data",), [row])})
                return
            await trio.sleep(0.01)

    def _join(self) -> None:
        self._numbers += 1
        name = f"w{self._numbers}"
        line: Any = Line(self.store, self.ledger, random.Random(f"{self.plan.order} {name}"))
        if not self._healed:
            line.loss, line.delay = self.plan.lossy, self.plan.slow
        _, processor = self._declared(name)
        worker = Worker(broker=line, processors=[processor], member=name)
        self.members[name] = worker, line
        self.note(f"{name} joins")
        self._nursery.start_soon(worker.run)

    async def _join_soon(self) -> None:
        await trio.sleep(0.3)
        if not self._over:
            self._join()

    def _gone(self, name: str, how: str) -> None:
        worker, line = self.members.pop(name)
        self.note(f"{name} {how}")
        self.dead.add(name)
        line.die()
        worker.abort()

    async def _act(self, what: str) -> None:
        if what == "join":
            if len(self.members) < 3:
                self._join()
        elif what in {"stop", "kill", "abort"}:
            self._end_one(what)
        elif what == "rewind":
            self._rewind()
        elif what == "snapshot":
            self._keep()
        elif what == "failover":
            await self._fail_over()
        elif what == "resume":
            await self._resume()
        elif what in {"hold", "hold busy"}:
            await self._hold(busy=what == "hold busy")
        else:
            await self._operate(what)

    def _end_one(self, what: str) -> None:
        if not self.members:
            return
        name = next(iter(self.members))
        if what == "kill":
            self._gone(name, "is killed")
        else:
            worker, _ = self.members.pop(name)
            self.note(f"{name}: {what}")
            worker.stop() if what == "stop" else worker.abort()

    async def _parked(self) -> list[Parked]:
        found = await parked(self.broker, self.processor.spec)
        self.parked_once = self.parked_once or bool(found)
        return found

    async def _operate(self, what: str) -> None:
        found = await self._parked()
        chosen = found if what == "unpark" else self.rng.sample(found, min(1, len(found)))
        if self.rng.random() < 0.3:
            await trio.sleep(self.rng.uniform(0, 0.3))  # between the look and the act
        if what == "drop":
            self.note(f"dropped are {[x.key for x in chosen]}")
            for x in chosen:
                self.keys[int(x.key)].held = None
            await drop(self.broker, self.processor.spec, chosen)
        else:
            await self._unpark(chosen, skip_first=what == "skip")

    async def _unpark(self, chosen: Sequence[Parked], *, skip_first: bool = False) -> None:
        refused = [x for x in chosen if x.error.startswith("Poisoned")]
        for them, skip in ((refused, True), ([x for x in chosen if x not in refused], skip_first)):
            if them:
                self.note(f"unparked are {[x.key for x in them]}" + (", skipping" if skip else ""))
                for one in [one for one in self.deaths for x in them if str(one[0]) == x.key]:
                    self.deaths[one] = 0
                for x in them:
                    self.keys[int(x.key)].held = None
                await unpark(self.broker, self.processor.spec, them, skip_first=skip)

    async def _hold(self, *, busy: bool) -> None:
        keys = sorted({key for _, given in self.in_hand.values() for key, _ in given}) if busy else []
        key = self.rng.choice(keys or sorted(self.keys))
        self.note(f"{key} is held")
        await hold(self.broker, self.processor.spec, self.stream, key, reason="by hand", by="eve")
        self.keys[key].held = trio.current_time()

    async def _resume(self) -> None:
        found = await self.broker.layouts(self.stream.declared_spec)
        assert found is not None
        for stream in filter(None, (found.draining, found.current)):
            place = ProcessorSpec(stream=stream, name="walk")
            for why in await self.broker.quarantined(place, range(stream.partition_count)):
                if why is not None:
                    self.note(f"{why.partition} goes on: {why.error[:70]}")
                    await self.broker.resume(place, why, skip=False)

    def removed(self, packed: list[bytes]) -> None:
        """An operator has removed these, of one key."""
        tasks = [json.loads(unpack_entry(x)[1][1]) for x in packed]
        if tasks:
            key, numbers = tasks[0]["key"], [task["n"] for task in tasks]
            self.note(f"{key}: {numbers} are removed")
            self.keys[key].remove(numbers, trio.current_time())

    def _rewind(self) -> None:
        """All are killed, and the cursor is set to the start; what is parked stays so."""
        logs = self._logs()
        if self.plan.becomes or any(
            log.groups["walk"].cursor == b"0-0" for _, log in logs if "walk" in log.groups
        ):
            return
        for name in list(self.members):
            self._gone(name, "is killed")
        self.note("the cursor is set to the start")
        self._snapshot = None
        self.keys.clear()
        for _, log in logs:
            lists = log.parked.get("walk", {}).values()
            rows = [unpack_entry(x.entries[n])[1][1] for x in lists for n in sorted(x.entries)]
            rows += [fields[1] for _, fields in log.entries]
            for task in map(json.loads, rows):
                self.keys[task["key"]].queue.append(task["n"])
            if group := log.groups.get("walk"):
                group.cursor, group.entries_read = b"0-0", 0

    def _keep(self) -> None:
        """A replica has everything up to now."""
        gone = {key: dict(kept.gone) for key, kept in self.keys.items()}
        self._snapshot = copy.deepcopy(self.store.logs), gone, len(self._sent), self._owners()

    def _owners(self) -> Any:
        leases = [(name, log.leases.get("walk")) for name, log in self._logs()]
        return [(name, x and (x.owner, x.epoch)) for name, x in leases]

    async def _fail_over(self) -> None:
        """The replica becomes the server; what it did not have is lost, and sent again."""
        if self._snapshot is None or self.plan.becomes or self._snapshot[3] != self._owners():
            return
        self.note("the server is lost, and a replica has become it")
        logs, gone, count, _ = self._snapshot
        self._snapshot, self._lossy = None, True
        self.store.logs.clear()
        self.store.logs.update(logs)
        self.forgiven.update(self.tenures)
        for key, kept in self.keys.items():
            kept.gone, kept.held = gone.get(key, {}), None
            kept.at = 0
            kept.move_on()
        for key, _, row in self._sent[count:]:
            await self._append(key, row)
        self.store.announce()

    async def _change_partitions(self) -> None:
        self._changing = bool(self.plan.becomes)
        for count in self.plan.becomes:
            await trio.sleep(self.rng.uniform(0, 3))
            change = Repartition(self.broker, self.stream.declared_spec)
            self.note(f"{count} partitions")
            await change.begin(count)
            while not await change.finish(await change.look()):
                await trio.sleep(0.3)
            self.note("the former ones are gone")
        self._changing = False


class OnlyHopelessHere(OnlyHopeless):
    """Letters are made of nothing else."""

    def on_failure(self, failure: Any) -> Any:
        return super(OnlyHopeless, self).on_failure(failure) if isinstance(failure.error, Hopeless) else None


def carry_out(plan: Plan) -> Trial:
    """Carry out a plan.

    Raises:
        Wrong: something was not as promised; with the whole history.
    """
    return run_trial(plan, Trial, 200_000)


def random_plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(seed)
    lanes = rng.choice([1, 1, 2, 3, 8])
    keys = rng.choice([1, 2, 3, 6])
    durations = rng.choice([[0.0], [0.0, 0.1], [0.1, 0.5], [0.0, 0.01, 0.5, 2.0]])
    hows = rng.choice([HOWS, HOWS, ("ok", "ok", "raise"), ("ok", "ok", "ok", "ok", "ok", "raise", "die")])
    many, taking = rng.random() < 0.2, rng.choice([0, 0, 0, 2, 5])
    events = [
        (rng.randrange(keys), rng.choice(durations), rng.choice(hows), rng.choice([1, 1, 2, 3]))
        for _ in range(rng.randrange(20, 60) if many else rng.randrange(1, 30))
    ]
    if many:  # long lists: what fails is at the front
        events[2:] = [
            (key, takes, "ok" if rng.random() < 0.9 else how, n) for key, takes, how, n in events[2:]
        ]
    return Plan(
        events=events,
        later=rng.choice([0, rng.randrange(len(events))]),
        lanes=lanes,
        max_unacked=rng.choice([lanes, lanes + 1, lanes + 50]),
        max_ahead=rng.choice([1, 5, 10_000]),
        prefetch=rng.choice([1, 5, 100]),
        limited=rng.random() < 0.3 and taking * max(durations) < TIMEOUT,
        max_parked=rng.choice([1, 3, 10, 10_000, 10_000]),
        taking=taking,
        retry=rng.choice([0.0, 0.0, 0.3, 2.0]),
        policy=rng.choice(["park", "park", "park", "quarantine"]),
        count=rng.choice([1, 1, 4]),
        becomes=rng.choice([(), (), (), (4,), (16, 3), (1,)]),
        lossy=rng.choice([0.0, 0.0, 0.0, 0.2]),
        slow=rng.choice([0.0, 0.0, 0.02]),
        acts=[
            (rng.choice([0.0, 0.1, rng.uniform(0, 3)]), rng.choice(ACTS))
            for _ in range(rng.choice([0, 4, 8, 12]))
        ],
        order=seed,
    )
