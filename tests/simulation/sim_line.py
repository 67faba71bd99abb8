"""What lies between a worker and the store of a simulation: a line that fails in every way a network can."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._protocol import Broker, Reader
from runnel_trio._broker._values import Acquired, Commit, CommitOutcome, Entry, ProcessorSpec

#: Verbs that go over the line, which repeats each of them until it is answered, as the Redis broker does.
VERBS = frozenset(
    {
        "acquire", "mark_attempt", "beat", "commit", "log_states", "layouts", "leave", "move_parked", "parked_entries",
        "parked_heads", "parked_values", "plan", "quarantine", "release",
        "undrained",
    }
)  # fmt: skip


@attrs.define(eq=False)
class Ledger:
    """Every ownership and every move of a cursor, as the store made them, whoever believes what."""

    owners: dict[tuple[int, int], str] = attrs.field(factory=dict)
    starts: dict[tuple[int, int], bytes] = attrs.field(factory=dict)
    moves: list[tuple[int, int, str, bytes]] = attrs.field(factory=list)
    plans: list[dict[str, tuple[int, ...]]] = attrs.field(factory=list)

    def acquired(self, granted: Acquired) -> None:
        lease = granted.lease
        self.owners.setdefault((lease.partition, lease.epoch), lease.owner)
        self.starts.setdefault((lease.partition, lease.epoch), granted.state.cursor)

    def planned(self, plan: dict[str, tuple[int, ...]]) -> None:
        if self.plans[-1:] != [plan]:
            self.plans.append(plan)

    def committed(self, commit: Commit) -> None:
        move = (commit.lease.partition, commit.lease.epoch, commit.lease.owner, commit.last)
        if move not in self.moves[-1:]:
            self.moves.append(move)


@attrs.define(eq=False)
class Line:
    """A client of the store. While it is down nothing passes, in either direction; a dead one is down for ever.

    What passes may be lost on the way there (nothing happens) or back (it has happened): then it is sent again,
    after a pause, as a client of a server does that repeats what was not answered.
    """

    store: Store
    ledger: Ledger
    rng: random.Random
    loss: float = 0.0
    delay: float = 0.0
    dead: bool = False
    downs: int = 0
    _inner: MemoryBroker = attrs.field(init=False)
    _up: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._inner = MemoryBroker(store=self.store)
        self._up.set()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def down(self) -> None:
        if self._up.is_set():
            self._up, self.downs = trio.Event(), self.downs + 1

    def up(self) -> None:
        if not self.dead:
            self._up.set()

    def die(self) -> None:
        self.down()
        self.dead = True

    async def passes(self) -> None:
        """Wait until something can pass."""
        while not self._up.is_set():
            await self._up.wait()
            if self.delay:
                await trio.sleep(self.rng.uniform(0, self.delay))

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in VERBS:
            return self._over(name, found)
        if name in {"reader", "control"}:
            return lambda *arguments: _Reading(self, found(*arguments))
        return found

    def _over(self, name: str, verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            while True:
                await self._on_the_way()
                if self.rng.random() < self.loss:
                    await trio.sleep(self.rng.uniform(0.01, 0.5))
                    continue
                answer = await self._done(name, verb, arguments, options)
                await self._on_the_way()
                if self.rng.random() >= self.loss:
                    return answer
                await trio.sleep(self.rng.uniform(0.01, 0.5))

        return call

    async def _on_the_way(self) -> None:
        if self.delay:
            await trio.sleep(self.rng.uniform(0, self.delay))
        await self.passes()

    async def _done(
        self,
        name: str,
        verb: Callable[..., Awaitable[Any]],
        arguments: Sequence[Any],
        options: Mapping[str, Any],
    ) -> Any:
        with trio.CancelScope(shield=True):  # what has arrived happens, whoever has stopped waiting for it
            answer = await verb(*arguments, **options)
        if name == "acquire":
            for granted in answer:
                if isinstance(granted, Acquired):
                    self.ledger.acquired(granted)
        elif name == "plan":
            self.ledger.planned(dict(self.store.parties[arguments[0]].plan))
        elif name == "commit":
            for commit, outcome in zip(arguments[1], answer, strict=True):
                if outcome is CommitOutcome.COMMITTED:
                    self.ledger.committed(commit)
        return answer


@attrs.define(eq=False)
class _Reading:
    """A reader over the line."""

    _line: Line
    _inner: Reader

    @property
    def interruptions(self) -> int:
        return self._line.downs

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        await self._line.passes()
        found = await self._inner.read(positions, count)
        await self._line.passes()
        return found

    def wake(self) -> None:
        self._inner.wake()

    async def aclose(self) -> None:
        await self._inner.aclose()


def is_complete(broker: Broker, processor: ProcessorSpec, store: Store) -> bool:
    """Whether everything that was stored is acknowledged."""
    numbers = range(processor.stream.partition_count)
    logs = [store.log(broker.log_key(processor.stream, number)) for number in numbers]
    return all(
        processor.name in log.groups and log.groups[processor.name].cursor == b"%d-%d" % log.last_id
        for log in logs
        if log.added
    )
