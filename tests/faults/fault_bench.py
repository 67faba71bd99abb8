"""A server, a network and a diary for one row of the fault matrix, and the verdict on what came of it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
import fault_history
import trio
from fault_app import Order, at_once, declare
from fault_history import Diary, Journal
from fault_proxy import Proxy

from runnel_trio import App, NotReplicated, Stream

KEYS = "abcdefghijkl"
PARTITIONS = 4
#: Of every worker, unless a row says otherwise.
EXPIRY, MAX_UNACKED = 1.0, 20
_HERE = Path(__file__).parent


def kinds(found: Iterable[str]) -> set[str]:
    """The letters of violations."""
    return {line[0] for line in found}


def pause(seconds: float) -> Callable[[Any], Awaitable[None]]:
    """A handler's work that takes so long."""

    async def work(_: Any) -> None:
        await trio.sleep(seconds)

    return work


@attrs.define(eq=False)
class Gate:
    """A handler's work that waits while it is closed; ``waiting`` is how many do."""

    waiting: int = 0
    _open: trio.Event | None = None

    def close(self) -> None:
        """Let nobody through."""
        self._open = trio.Event()

    def open(self) -> None:
        """Let all through."""
        if self._open is not None:
            self._open.set()

    async def __call__(self, order: Order) -> None:
        await trio.sleep(0.001)
        if self._open is not None:
            self.waiting += 1
            await self._open.wait()
            self.waiting -= 1


def threads() -> set[threading.Thread]:
    """All that are not Trio's idle ones."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Trio thread")}


@attrs.define(eq=False)
class Producer:
    """Numbers the records of each key, and keeps those that were acknowledged; sends until ``enough``.

    Attributes:
        replicas: how many must have a record before it counts as acknowledged.
    """

    stream: Stream[Any]
    acked: list[tuple[str, int]] = attrs.field(factory=list)
    enough: bool = False
    replicas: int = 0
    numbers: dict[str, Iterator[int]] = attrs.field(factory=lambda: {key: itertools.count() for key in KEYS})
    _keys: Iterator[str] = attrs.field(factory=lambda: itertools.cycle(KEYS))

    async def send(self, count: int, *, batch: int = 10, pause: float = 0.0, key: str = "") -> None:
        """So many records, for all keys in turn or for one; each batch is acknowledged before the next."""
        for start in range(0, count, batch):
            if self.enough:
                return
            keys = [key or next(self._keys) for _ in range(start, min(start + batch, count))]
            orders = [Order(key=key, n=next(self.numbers[key])) for key in keys]
            with suppress(NotReplicated):
                await self.stream.send(*orders, wait_replicas=self.replicas)
                self.acked += [(order.key, order.n) for order in orders]
            await trio.sleep(pause)

    async def send_with_ids(self, key: str, first: int, count: int) -> None:
        """Records of one key, whose ids are theirs and not the server's."""
        orders = [Order(key=key, n=next(self.numbers[key])) for _ in range(count)]
        await self.stream.send(*orders, stream_ids=[f"{first + n}-0" for n in range(count)])
        self.acked += [(order.key, order.n) for order in orders]


@attrs.define(eq=False)
class Child:
    """A worker that is a process."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def _stopped(self) -> bool:
        options = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self.pid, options) is not None

    async def frozen(self) -> None:
        """Until it has come to its point."""
        with trio.fail_after(60):
            while not self._stopped():
                assert self.process.poll() is None, self.log.read_text()
                await trio.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        """To the process."""
        self.process.send_signal(number)

    async def ended(self, seconds: float = 60) -> int:
        """Its exit code."""
        with trio.fail_after(seconds):
            while (code := self.process.poll()) is None:
                await trio.sleep(0.005)
        return code

    def kill(self) -> None:
        """As `kill -9` does, frozen or not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


@attrs.define(eq=False)
class Bench:
    """One row's server, proxy and diary.

    Attributes:
        server: the server, or the servers.
        proxy: a network before it; `proxy_to` makes more. Without one, all go to the server as it is.
        diary: what workers write down.
        directory: for files.
        nursery: for proxies.
    """

    server: Any
    proxy: Any
    diary: Diary
    directory: Path
    nursery: trio.Nursery
    producers: list[Producer] = attrs.field(factory=list)
    children: list[Child] = attrs.field(factory=list)
    _threads: set[threading.Thread] = attrs.field(factory=threads)

    async def proxy_to(self, port: int) -> Proxy:
        """One more network."""
        proxy = Proxy(port)
        await self.nursery.start(proxy.serve)
        return proxy

    def app(
        self,
        owner: str = "one",
        url: str | None = None,
        work: Callable[[Order], Awaitable[Any]] = at_once,
        **options: Any,
    ) -> App:
        """A worker's app, through the proxy unless a URL is given."""
        app = App(
            "faults",
            redis_url=url or (self.proxy or self.server).url,
            default_partition_count=PARTITIONS,
            default_lock_expiry=EXPIRY,
            default_max_unacked=MAX_UNACKED,
            default_max_attempts=1000,
        )
        declare(app, self.diary, owner, work, **options)
        return app

    @asynccontextmanager
    async def producer(self, url: str | None = None, **options: Any) -> AsyncIterator[Producer]:
        """Somebody who sends, past the proxy unless a URL is given."""
        app = App("faults", redis_url=url or self.server.url, default_partition_count=PARTITIONS)
        producer = Producer(app.stream("orders", Order, partition_by="key", **options))
        self.producers.append(producer)
        async with app.session():
            yield producer

    def child(self, point: str = "", *, mutants: str = "", pause: float = 0.001, **environment: str) -> Child:
        """A worker that is a process, with its point."""
        log = self.directory / f"child-{len(self.children)}.log"
        settings = {
            "PYTHONPATH": str(_HERE), "FAULT_DIARY": str(self.diary.path), "FAULT_POINT": point,
            "FAULT_MUTANTS": mutants, "FAULT_PAUSE": str(pause), "RUNNEL_REDIS_URL": self.server.url,
            "RUNNEL_DEFAULT_LOCK_EXPIRY": str(EXPIRY), "RUNNEL_DEFAULT_MAX_UNACKED": str(MAX_UNACKED),
        }  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "runnel_trio", "run", "fault_app:app"],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                env={**os.environ, **settings, **environment},
            )  # fmt: skip
        child = Child(process, log)
        self.children.append(child)
        return child

    async def until(self, condition: Callable[[], Any], seconds: float = 60) -> Any:
        """Wait for it; what made it true."""
        with trio.fail_after(seconds):
            while not (found := await trio.to_thread.run_sync(condition)):
                await trio.sleep(0.005)
        return found

    async def handled(self, count: int) -> None:
        """Until so many iterations ended."""
        await self.until(lambda: self.diary.count() >= count)

    def done(self) -> bool:
        """Whether everything is acknowledged."""
        return len(self.server.logs()) == PARTITIONS and self.server.lag() == 0

    async def drained(self, seconds: float = 20) -> None:
        """Until everything is acknowledged, or for so long: the verdict is to tell."""
        with trio.move_on_after(seconds):
            while not await trio.to_thread.run_sync(self.done):
                await trio.sleep(0.01)

    async def verdict(self, *, repeats: int = 0, journal: bool = True, order: bool = True) -> list[str]:
        """What happened that must not; nothing of ours may run any more.

        Args:
            repeats: how many events may have been handled again.
            journal: whether the journal has the whole story.
            order: whether the log has it.
        """
        left = await self._left()
        return left + await trio.to_thread.run_sync(lambda: list(self._violations(repeats, journal, order)))

    def _violations(self, repeats: int, journal: bool, order: bool) -> Iterator[str]:
        handled, stored = self.diary.handled(), self.server.stored()
        acked = [entry for producer in self.producers for entry in producer.acked]
        found = Journal.read(self.server.journals) if journal else None
        assert acked, "something was sent"
        yield from fault_history.check_lost(acked, handled)
        yield from fault_history.check_repeats(handled, repeats)
        yield from fault_history.check_groups(self.server.groups())
        if order:
            yield from fault_history.check_sent(acked, stored)
            yield from fault_history.check_order(handled, stored, found)
        if found is not None:
            assert found.moves, "the journal was read"
            yield from fault_history.check_single(handled, self.diary.commits(), found)

    async def _left(self) -> list[str]:
        """T: no connection and no thread outlives those who used it."""
        for child in self.children:
            child.kill()
        with trio.move_on_after(30):
            while self.server.guests() or threads() - self._threads:
                await trio.sleep(0.01)
        left = [f"T connection left: {guest}" for guest in self.server.guests()]
        return left + [f"T thread left: {thread.name}" for thread in threads() - self._threads]
