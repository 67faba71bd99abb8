"""One broker, shared by everything in a Trio run that uses the same app.

The first user opens it, and it is closed when the last has left. A plain `Stream.send` outside of any worker
keeps it until the run ends. It lives in a system task: a user that leaves early, or is cancelled, does not
take it away from the others, and Trio ends it with the run.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import attrs
import trio

from runnel_trio._broker._connection import Connection, Declarable, Opened
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ServerConfig
from runnel_trio._override import override
from runnel_trio._scopes import shielded
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured
from runnel_trio.metrics import Metrics
from runnel_trio.settings import Settings

__all__ = ["Declared", "SharedBroker", "server_config"]

#: Seconds that closing may take; an embedded server has to write its data first.
_CLOSING = 20.0


def server_config(settings: Settings) -> ServerConfig:
    """The server that the settings name; a factory is imported when it is needed."""

    def made() -> Any:
        return settings.resolve("redis_factory")()

    factory = None if settings.redis_factory is None else made
    return ServerConfig(settings.redis_url, settings.redis_options or {}, factory)


@attrs.define(eq=False)
class SharedBroker:
    """The broker for one server; each run of Trio has its own."""

    server: ServerConfig
    metrics: Metrics | None = None
    _run: trio.lowlevel.RunVar[Opened | None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._run = trio.lowlevel.RunVar("runnel_trio_broker", None)

    @asynccontextmanager
    async def used(self) -> AsyncIterator[Broker]:
        """The broker, open at least for the body.

        Raises:
            BrokerUnavailable, BrokerRefused, Misconfigured: it cannot be opened.
        """
        opened, broker = await self._join()
        try:
            yield broker
        finally:
            await self.leave(opened)

    @asynccontextmanager
    async def private(self) -> AsyncIterator[Broker]:
        """A memory broker that replaces the app's own, for the body, in this run of Trio.

        Raises:
            Misconfigured: the app's own broker is in use in this run.
        """
        with self._replacing(f"memory://{uuid.uuid4()}"):
            async with self.used() as broker:
                yield broker

    @contextmanager
    def _replacing(self, url: str) -> Iterator[None]:
        if self._run.get() is not None:
            raise Misconfigured(
                "the app is connected to its server in this run of Trio: test a processor outside of "
                "`app.worker()`, `app.session()` and another test, and in a Trio run that has not sent"
            )
        before, self.server = self.server, ServerConfig(url)
        try:
            yield
        finally:
            self.server = before

    def declared(self, stream: Declarable) -> Connection:
        """The broker, open at least for the body, with the stream declared to it."""
        return Declared(self, stream)

    def current(self) -> Broker | None:
        """The broker, if it is open in this run, or in the run that started this thread."""
        if trio.lowlevel.in_trio_run():
            opened = self._run.get()
        else:
            with suppress(RuntimeError):  # this is not a thread that Trio started
                return trio.from_thread.run_sync(self.current)
            opened = None
        return opened.broker if opened is not None else None

    def now(self) -> Opened | None:
        """The broker of this run and the count of its users, if it is in use now."""
        try:
            return self._run.get()
        except RuntimeError:  # Trio is not running
            return None

    async def opened(self) -> tuple[Opened, Broker]:
        """The broker, opened if necessary, and the count of its users.

        Raises:
            Misconfigured: Trio is not running.
        """
        try:
            opened = self._run.get()
        except RuntimeError:
            raise Misconfigured(
                "this needs Trio, which does not run here: use `stream.send_sync(…)`; from asyncio, "
                "`await asyncio.to_thread(stream.send_sync, …)`"
            ) from None
        if opened is None or opened.broker is None:
            return await self._join()
        return opened, opened.broker

    async def _join(self) -> tuple[Opened, Broker]:
        opened = self._run.get()
        if opened is None:
            opened = Opened(self.leave)
            self._run.set(opened)
            trio.lowlevel.spawn_system_task(
                opened.hold, self.server, self.metrics, name=f"broker {self.server.url.partition(':')[0]}"
            )
        opened.users += 1
        try:
            await opened.ready.wait()
            if opened.broker is None:
                raise opened.error or BrokerUnavailable("the connection was closed while it was being opened")
            return opened, opened.broker
        except BaseException:
            await self.leave(opened)
            raise

    async def leave(self, opened: Opened) -> None:
        """Remove a user; the last one waits until the broker is closed."""
        opened.users -= 1
        if opened.users:
            return
        if self._run.get() is opened:
            self._run.set(None)
        opened.unused.set()
        with shielded(_CLOSING):
            await opened.closed.wait()


@attrs.define(eq=False)
class Declared(Connection):
    """The connection of a stream: a class, since each send enters one, and a generator costs 6 µs more."""

    _shared: SharedBroker
    _stream: Declarable
    _writes: bool = attrs.field(default=True, alias="writes")
    _opened: Opened | None = None

    @override
    def at_hand(self) -> Opened | None:
        opened = self._shared.now()
        if opened is None or opened.broker is None or self._stream.spec not in opened.declared:
            return None
        opened.users += 1
        return opened

    @override
    def looking(self) -> Connection:
        return Declared(self._shared, self._stream, writes=False)

    @property
    @override
    def at_once(self) -> bool:
        opened = self._shared.now()
        return (
            opened is not None
            and opened.broker is not None
            and self._stream.spec in opened.declared
            and opened.broker.appends_at_once
        )

    @override
    async def __aenter__(self) -> Broker:
        self._opened, broker = opened, _ = await self._shared.opened()
        opened.users += 1
        if self._stream.spec not in opened.declared:
            try:
                # What another server said about the stream does not count here.
                found = await broker.declare(self._stream.declared_spec, dry_run=not self._writes)
            except BaseException:
                await self._shared.leave(opened)
                raise
            self._stream.adopt(found.current)
            if self._writes:
                opened.declared.add(found.current)
        return broker

    @override
    async def __aexit__(self, *_: object) -> None:
        if self._opened is not None:
            await self._shared.leave(self._opened)
