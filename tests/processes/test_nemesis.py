"""All kinds of harm to an app with three processors, by a seed: each has every event of every key, in order.

One processor is slow, and is paused before it has ever begun; one is run by nobody at first. The partitions are small,
so what one of them has not read is in the way of the senders; and they change all the while. ``RUNNEL_SOAK`` is how
many seeds, ``RUNNEL_SOAK_SECONDS`` how long each lasts.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs
import moved_log
import pytest
import trio
from moved_app import MAX_UNACKED, PAUSES
from redis import Redis
from warm import Forked

SEEDS = range(int(os.environ.get("RUNNEL_SOAK", "1")))
SECONDS = float(os.environ.get("RUNNEL_SOAK_SECONDS", "8"))
#: The most partitions that it gets.
MOST = 8


@attrs.define(eq=False)
class Nemesis:
    """Does harm, again and again; each kind is a method."""

    dice: random.Random
    log: Path
    start: Callable[..., Forked]
    until: Callable[[Callable[[], Any]], Awaitable[Any]]
    workers: list[Forked] = attrs.field(factory=list)
    done: Counter[str] = attrs.field(factory=Counter)
    #: Who led while no harm was done to it, from when to when it was looked at.
    harmed: list[tuple[int, int]] = attrs.field(factory=list)
    options: tuple[str, ...] = ("--processors", "quick,slow")
    changes: list[Forked] = attrs.field(factory=list)

    def worker(self) -> None:
        self.workers.append(self.start("run", "moved_app:app", *self.options))

    def leaders(self) -> list[int]:
        """Pids, one line for each run of what only the leader runs."""
        path = Path(f"{self.log}.led")
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _harm(self, worker: Forked) -> Forked:
        self.harmed.append((len(self.leaders()), worker.pid))
        return worker

    async def kill_a_worker(self) -> None:
        self._harm(self.workers.pop(self.dice.randrange(len(self.workers)))).kill()
        self.worker()

    async def stop_a_worker(self) -> None:
        self._harm(self.workers.pop(self.dice.randrange(len(self.workers)))).terminate()
        self.worker()

    async def freeze_a_worker(self) -> None:
        await self._freeze(self.dice.choice(self.workers), self.dice.uniform(0.1, 2))

    async def freeze_the_leader(self) -> None:
        """Until another one leads; when it wakes up, it begins nothing more."""
        leaders = self.leaders()
        found = [worker for worker in self.workers if leaders and worker.pid == leaders[-1]]
        if found:
            await self._freeze(found[0], 4, lambda: self.leaders()[-1] != found[0].pid)

    async def _freeze(
        self, worker: Forked, seconds: float, enough: Callable[[], bool] = lambda: False
    ) -> None:
        worker.send_signal(signal.SIGSTOP)
        self._harm(worker)
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not enough():
            await trio.sleep(0.02)
        self._harm(worker)
        worker.send_signal(signal.SIGCONT)

    async def pause_and_resume(self) -> None:
        for what in ("pause", "resume"):
            await self._command("processor", what, "moved_app:slow")

    async def give_it_other_partitions(self) -> None:
        """By a command that is killed as often as not."""
        command = self.start(
            "stream", "repartition", "moved_app:ticks", "--to", str(self.dice.randint(1, MOST))
        )
        await trio.sleep(self.dice.uniform(0.3, 1))
        if self.dice.random() < 0.5:
            command.kill()
        self.changes.append(command)

    async def _command(self, *arguments: str) -> None:
        command = self.start(*arguments)
        await self.until(lambda: command.poll() is not None)
        assert command.returncode == 0, arguments

    async def run(self) -> None:
        """Until cancelled, which it notices when one harm is over."""
        kinds = [
            self.kill_a_worker, self.stop_a_worker, self.freeze_a_worker, self.freeze_the_leader,
            self.pause_and_resume, self.give_it_other_partitions, self.freeze_the_leader,
        ]  # fmt: skip
        self.dice.shuffle(kinds)
        while True:
            for harm in kinds:
                await trio.sleep(self.dice.uniform(0.05, 0.5))
                with trio.CancelScope(shield=True):
                    await harm()
                self.done[harm.__name__] += 1

    def led_beside_another(self) -> list[str]:
        """Runs of one that had led before, in the midst of those of another to which nothing was done."""
        leaders = self.leaders()
        terms, at = [], 0
        for pid, lines in groupby(leaders):
            count = len(list(lines))
            terms.append((pid, at, at + count))
            at += count
        return [
            f"{intruder} ran at {begin} to {end}, while {before} led"
            for (before, _, _), (intruder, begin, end), (after, _, _) in zip(
                terms, terms[1:], terms[2:], strict=False
            )
            if before == after
            and not any(pid == before and begin - 1 <= n <= end + 1 for n, pid in self.harmed)
        ]


@pytest.mark.parametrize("seed", SEEDS)
async def test_each_of_three_processors_has_every_event_whatever_is_done_to_them(
    seed: int, moved: Path, redis: Redis, start: Any, until: Any
) -> None:
    nemesis = Nemesis(random.Random(seed), moved, start, until)
    await nemesis._command("processor", "pause", "moved_app:slow")
    start("run", "moved_app:sender", MOVED_FIRST="0")
    for _ in range(3):
        nemesis.worker()
    with trio.move_on_after(SECONDS / 2):
        await nemesis.run()
    nemesis.options = ()
    nemesis.worker()
    with trio.move_on_after(SECONDS / 2):
        await nemesis.run()
    await nemesis._command("processor", "resume", "moved_app:slow")
    for change in nemesis.changes:
        change.kill()
    (moved.parent / "stop").touch()
    sent = int(await until(partial(moved_log.told, moved.parent / "sent-0")))
    assert sent > 10
    await until(lambda: moved_log.behind(redis) == 0)
    for name in PAUSES:
        losses = sum(nemesis.done.values()) * MOST
        assert moved_log.repeats(moved, {0: sent}, name) <= losses * (MAX_UNACKED + 1), (
            f"{seed}: {nemesis.done}"
        )
    assert nemesis.led_beside_another() == [], f"{seed}: {nemesis.done}"
    assert sum(nemesis.done.values()) > SECONDS / 4
