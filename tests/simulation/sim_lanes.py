"""Workers with lanes over one partition, in virtual time: what a plan does to them, and what must be true all the while.

Nothing here knows how the engine chooses events or counts them. What is looked at is what a user can see: which
event the function is given when, what became of it, and what the store says in the end.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import trio
from sim_line import Ledger, Line, is_complete
from sim_plans import Wrong, run_trial

from runnel_trio import App, Middleware, Processor, Record, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import Batch
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

#: How an event's turn may end.
HOWS = ("ok", "ok", "ok", "break", "return", "aclose", "cancel", "ignore", "retry", "dead", "left out")
#: What may happen meanwhile.
ACTS = ("join", "join", "join", "stop", "kill", "kill", "abort", "foreign rewind", "foreign delete")
#: Seconds that a turn may take, if the processor has a limit at all.
TIMEOUT = 3.0


class Task(Record):
    key: int
    n: int
    takes: float
    how: str


class Ignored(Exception):
    """For the policy."""


class Again(Exception):
    """To be tried again."""


class Hopeless(Exception):
    """To be set aside."""


class OnlyHopeless(DeadLetterMiddleware):
    """Letters are made of nothing else."""

    def on_failure(self, failure: Any) -> Any:
        return super().on_failure(failure) if isinstance(failure.error, Hopeless) else None


@attrs.frozen
class Plan:
    """A schedule.

    Attributes:
        events: key, seconds and ending of each, in the order of the log.
        later: how many of them are sent in the course of things.
        lanes, max_unacked, max_ahead, prefetch, limited, grace: of the processor.
        taking: how many events make a list; 0: no lists.
        link: what is before the function.
        by_key: whether only its key waits between two tries.
        acts: seconds to wait, and what is done then.
        order: of tasks that are ready at the same time.
    """

    events: Sequence[tuple[int, float, str]]
    later: int = 0
    lanes: int = 2
    max_unacked: int = 20
    max_ahead: int = 10_000
    prefetch: int = 50
    limited: bool = False
    grace: float = 1.0
    taking: int = 0
    link: str = ""
    by_key: bool = False
    acts: Sequence[tuple[float, str]] = ()
    order: int = 0


@attrs.define(eq=False)
class Turn:
    """What one call of the function was given, once."""

    epoch: int
    member: str
    tasks: list[tuple[int, int]]
    tries: int
    begun: float


@attrs.define(eq=False)
class Trial:
    """A plan that is carried out."""

    plan: Plan
    store: Store = attrs.field(factory=Store)
    ledger: Ledger = attrs.field(factory=Ledger)
    members: dict[str, tuple[Worker, Line]] = attrs.field(factory=dict)
    dead: set[str] = attrs.field(factory=set)
    trace: list[str] = attrs.field(factory=list)
    #: (key, n) of what is over, for good: handled, ignored, set aside or left out.
    over: set[tuple[int, int]] = attrs.field(factory=set)
    left_out: set[tuple[int, int]] = attrs.field(factory=set)
    now: dict[int, Turn] = attrs.field(factory=dict)
    tries: dict[tuple[int, int], int] = attrs.field(factory=lambda: defaultdict(int))
    repeated: dict[int, set[tuple[int, int]]] = attrs.field(factory=lambda: defaultdict(set))
    over_in: dict[tuple[int, int], int] = attrs.field(factory=dict)
    most_at_a_time: int = 0
    sent: list[tuple[int, int]] = attrs.field(factory=list)
    gone: set[tuple[int, int]] = attrs.field(factory=set)
    begun: dict[tuple[int, int], float] = attrs.field(factory=dict)
    app: App = attrs.field(init=False)
    stream: Stream[Any] = attrs.field(init=False)
    processor: Processor = attrs.field(init=False)
    _numbers: int = 0
    _counts: dict[int, int] = attrs.field(factory=lambda: defaultdict(int))

    def __attrs_post_init__(self) -> None:
        plan = self.plan
        self.app = App("sim", redis_url="memory://")
        self.stream = self.app.stream("tasks", Task, partition_by="key", partition_count=1)
        sink = self.app.stream("dead", Dead, partition_by="xid", partition_count=1)
        links: list[Middleware] = [
            RetryMiddleware(
                attempts=3, delay=0.5, jitter=False, on=(Again,), hold="key" if plan.by_key else "lane"
            ),
            OnlyHopeless(sink),
        ]
        if plan.link == "leaves out":
            links.insert(0, LeavesOut(self))
        elif plan.link == "reads ahead":
            links.insert(0, ReadsAhead())
        self.processor = self.app.processor(
            self.stream,
            concurrency=plan.lanes,
            max_unacked=plan.max_unacked,
            max_ahead=plan.max_ahead,
            prefetch_count=plan.prefetch,
            timeout=TIMEOUT if plan.limited else 0,
            grace_period=plan.grace,
            lock_expiry=4,
            join_delay=0,
            exception_policy="ignore",
            max_attempts=1000,  # who is killed here does not die of an event
            middleware=links,
        )(self._handle)

    def note(self, what: str) -> None:
        self.trace.append(f"{trio.current_time():8.3f}  {what}")

    def wrong(self, what: str) -> None:
        self.note(f"WRONG {what}")
        raise Wrong(what)

    # What the workers run

    async def _handle(self, events: Any) -> None:
        epoch = events.partition.epoch
        source = events.take(self.plan.taking, within=0.2) if self.plan.taking else events
        async for item in source.records():
            tasks = item if self.plan.taking else [item]
            turn = self._begin(epoch, tasks)
            try:
                how = await self._work(turn, tasks)
            finally:
                del self.now[id(turn)]
            if how in {"ignore", "dead", "retry"}:
                self._fail(turn, how, events)
            self._end(turn, how)
            if how == "break":
                break
            if how == "return":
                return
            if how == "aclose":
                await events.aclose()

    def _begin(self, epoch: int, tasks: list[Task]) -> Turn:
        member = self.ledger.owners[0, epoch]
        given = [(task.key, task.n) for task in tasks]
        for one in given:
            self.tries[one] += 1
            self.begun[one] = trio.current_time()
        turn = Turn(epoch, member, given, max(self.tries[one] for one in given), trio.current_time())
        self.note(f"{member} is given {given}")
        if member in self.dead:
            return self.now.setdefault(id(turn), turn)
        self._check_begin(member, epoch, given)
        self.now[id(turn)] = turn
        alive = [x for x in self.now.values() if x.member not in self.dead]
        self.most_at_a_time = max(self.most_at_a_time, len(alive))
        if len(alive) > self.plan.lanes:
            self.wrong(f"{len(alive)} are in hand at a time")
        return turn

    def _check_begin(self, member: str, epoch: int, given: list[tuple[int, int]]) -> None:
        lease = self._log().leases[self.processor.name]
        if (lease.owner, lease.epoch) != (member, epoch):
            self.wrong(
                f"{member} is given {given} in epoch {epoch}, but {lease.owner} has epoch {lease.epoch}"
            )
        for other in self.now.values():
            if other.member not in self.dead and {k for k, _ in other.tasks} & {k for k, _ in given}:
                self.wrong(f"{given} is begun while {other.tasks} is in hand")
        seen = set(self.over)
        for key, n in given:
            missing = [m for m in range(n) if (key, m) not in seen]
            if missing:
                self.wrong(f"{key, n} is begun before {missing} of its key are over")
            seen.add((key, n))
        for one in given:
            if one in self.over - self.left_out - self.gone:
                if self.over_in[one] == epoch:
                    self.wrong(f"{one} is given again, though it was over in the same epoch")
                self.repeated[epoch].add(one)

    async def _work(self, turn: Turn, tasks: list[Task]) -> str:
        try:
            with trio.move_on_after(0.25 if any(x.how == "cancel" for x in tasks) else 1e9):
                await trio.sleep(sum(task.takes for task in tasks))
        except trio.Cancelled:
            if self.plan.limited and trio.current_time() - turn.begun >= TIMEOUT - 1e-6:
                self._end(turn, "time is over")
            raise
        if self.plan.limited and trio.current_time() - turn.begun >= TIMEOUT:
            return "late"
        return next((x.how for x in tasks if x.how not in {"ok", "cancel", "left out"}), "ok")

    def _fail(self, turn: Turn, how: str, events: Any) -> None:
        if how == "retry" and events.attempt < 3:
            self.note(f"{turn.tasks} fails, and is tried again")
            raise Again
        self._end(turn, how)
        raise {"ignore": Ignored, "dead": Hopeless, "retry": Again}[how]

    def _end(self, turn: Turn, how: str) -> None:
        if turn.member in self.dead:
            return  # whatever it did, nobody has heard of it
        self.note(f"{turn.member} is through with {turn.tasks}: {how}")
        for one in turn.tasks:
            self.over.add(one)
            self.over_in[one] = turn.epoch

    # What is done to them

    async def run(self) -> None:
        plan = self.plan
        async with trio.open_nursery() as nursery:
            early = len(plan.events) - plan.later
            await self._send(plan.events[:early])
            self._join(nursery)
            rest = list(plan.events[early:])
            for seconds, what in plan.acts:
                await trio.sleep(seconds + 0.00137)
                if rest:
                    await self._send([rest.pop(0)])
                self._act(what, nursery)
            await self._send(rest)
            if not self.members:
                self._join(nursery)
            await self._drain()
            for worker, _ in self.members.values():
                worker.stop()
        self._check_the_end()

    async def _drain(self) -> None:
        if self.plan.link == "leaves out":
            # What was left out last is acknowledged with the next event of its lane.
            with trio.move_on_after(self._patience):
                while len(self.over) < len(self.sent):
                    await trio.sleep(0.5)
            for _ in range(2):
                await self._send([(1000 + n, 1.0, "ok") for n in range(self.plan.lanes)])
                await trio.sleep(5)
        with trio.move_on_after(self._patience) as patience:
            while not is_complete(MemoryBroker(store=self.store), self.processor.spec, self.store):
                await trio.sleep(0.5)
        if patience.cancelled_caught:
            left = [x for x in self.sent if x not in self.over]
            self.wrong(f"it does not drain: {left} were never handled, cursor {self._cursor()}")

    @property
    def _patience(self) -> float:
        """Seconds in which all is over even if it is done one after the other, three times."""
        return 60 + 3 * sum(0.5 + takes for _, takes, _ in self.plan.events)

    async def _send(self, events: Sequence[tuple[int, float, str]]) -> None:
        if not events:
            return
        rows = []
        for key, takes, how in events:
            n = self._counts[key]
            self._counts[key] += 1
            self.sent.append((key, n))
            rows.append(f'{{"key":{key},"n":{n},"takes":{takes},"how":"{how}"}}'.encode())
        await MemoryBroker(store=self.store).append(self.stream.spec, {0: Batch((b"data",), rows)})

    def _join(self, nursery: trio.Nursery) -> None:
        self._numbers += 1
        name = f"w{self._numbers}"
        line: Any = Line(self.store, self.ledger, random.Random(self.plan.order))
        worker = Worker(broker=line, processors=[self.processor], member=name)
        self.members[name] = worker, line
        self.note(f"{name} joins")
        nursery.start_soon(worker.run)

    def _act(self, what: str, nursery: trio.Nursery) -> None:
        if what == "join":
            if len(self.members) < 3:
                self._join(nursery)
        elif what == "foreign rewind":
            self._rewind(nursery)
        elif what == "foreign delete":
            self._delete()
        elif self.members:
            name = next(iter(self.members))
            worker, line = self.members.pop(name)
            self.note(f"{name}: {what}")
            if what == "kill":
                self.dead.add(name)
                line.die()
            worker.stop() if what == "stop" else worker.abort()

    def _rewind(self, nursery: trio.Nursery) -> None:
        """All are killed, and somebody sets the group's cursor to the start, as XGROUP SETID does."""
        while self.members:
            self._act("kill", nursery)
        self.note("the cursor is set to the start")
        group = self._log().groups.get(self.processor.name)
        if group is not None and group.cursor != b"0-0":  # if it stands there, nobody can tell
            group.cursor, group.entries_read = b"0-0", 0
            self.over &= self.gone
            self.over_in.clear()

    def _delete(self) -> None:
        """Somebody deletes the first event that is not over, as XDEL does."""
        log = self._log()
        for xid, fields in log.entries[:-1]:  # the cursor will stand at the last one
            found = json.loads(fields[1])
            if (one := (found["key"], found["n"])) not in self.over:
                self.note(f"{one} is deleted")
                log.remove(xid)
                self.gone.add(one)
                self.over.add(one)
                return

    # What must be true in the end

    def _check_the_end(self) -> None:
        if left := [x for x in self.sent if x not in self.over]:
            self.wrong(f"{left} were acknowledged and never handled")
        bound = self.plan.max_unacked + max(1, self.plan.taking)
        for epoch, found in self.repeated.items():
            if len(found) > bound:
                self.wrong(f"epoch {epoch} repeats {len(found)} that were over, and may repeat {bound}")

    def _log(self) -> Any:
        return self.store.log(MemoryBroker(store=self.store).log_key(self.stream.spec, 0))

    def _cursor(self) -> str:
        return self._log().groups[self.processor.name].cursor.decode()


@attrs.define(eq=False)
class LeavesOut(Middleware):
    """Never hands on what is to be left out."""

    trial: Trial

    async def handler(self, parent: AsyncIterator[Any], **_: Any) -> AsyncIterator[Any]:
        async for item in parent:
            if not isinstance(item, list):
                if self._stays(item):
                    yield item
            elif kept := [event for event in item if self._stays(event)]:
                yield kept

    def _stays(self, event: Any) -> bool:
        task = event.record()
        if task.how == "left out":
            self.trial.note(f"{task.key, task.n} is left out")
            self.trial.left_out.add((task.key, task.n))
            self.trial.over.add((task.key, task.n))
            return False
        return True


class ReadsAhead(Middleware):
    """Takes a second one before it hands on the first, if there is one soon."""

    async def handler(self, parent: AsyncIterator[Any], **_: Any) -> AsyncIterator[Any]:
        ended = False
        while not ended:
            held = []
            try:
                held.append(await parent.__anext__())
                with trio.move_on_after(0.05):
                    held.append(await parent.__anext__())
            except StopAsyncIteration:
                ended = True
            for item in held:
                yield item


def carry_out(plan: Plan) -> Trial:
    """Carry out a plan.

    Raises:
        Wrong: something was not as promised; with the whole history.
    """
    return run_trial(plan, Trial, 20_000)


def random_plan(seed: int) -> Plan:
    """The plan of a seed."""
    rng = random.Random(seed)
    lanes = rng.choice([1, 2, 2, 3, 5, 8, 20])
    keys = rng.choice([1, 2, 3, 6, 15])
    link = rng.choice(["", "", "leaves out", "reads ahead"])
    limited = rng.random() < 0.3
    durations = rng.choice([[0.0], [0.0, 0.1], [0.1, 1.0], [0.0, 0.01, 0.5, 2.0, 7.0]])
    hows = rng.choice([("ok",), HOWS])
    events = [
        (rng.randrange(keys), rng.choice(durations), rng.choice(hows)) for _ in range(rng.randrange(1, 60))
    ]
    return Plan(
        events=events,
        later=rng.choice([0, rng.randrange(len(events))]),
        lanes=lanes,
        max_unacked=lanes + rng.choice([0, 0, 1, 5, 50]),
        max_ahead=rng.choice([1, 2, 5, 20, 10_000]),
        prefetch=rng.choice([1, 2, 5, 20, 100]),
        limited=limited,
        grace=rng.choice([0.2, 1.0, 10.0]),
        taking=rng.choice([0, 0, 0, 1, 2, 5]) if rng.random() < 0.7 else 0,
        link=link,
        by_key=rng.random() < 0.4,
        acts=[
            (rng.choice([0.0, 0.1, rng.uniform(0, 5)]), rng.choice(ACTS))
            for _ in range(rng.choice([0, 0, 2, 4, 8]))
        ],
        order=seed,
    )
