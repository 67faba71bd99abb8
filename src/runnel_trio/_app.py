"""`App`: declares streams and processors, and runs them.

Declaring does no I/O and creates no Trio object, so an app can be created at import and run many times.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import attrs
import trio
from cattrs import Converter

from runnel_trio._background_tasks import BackgroundTasks
from runnel_trio._broker import redis_client
from runnel_trio._broker._shared import SharedBroker, server_config
from runnel_trio._broker._values import StreamSpec
from runnel_trio._codec import (
    Record,
    RecordCodec,
    blake3_hasher,
    check_record,
    default_serializer,
    make_converter,
)
from runnel_trio._discovery import import_all, refuse_while_importing
from runnel_trio._names import check_key, checked_name, free_name, name_of, named
from runnel_trio._processor import Processor, chosen, letters_of, refuse_foreign
from runnel_trio._report._words import counted, described
from runnel_trio._rules._backoff import Backoff
from runnel_trio._rules._failure import Policies
from runnel_trio._settings._kinds import whole
from runnel_trio._stream import Stream
from runnel_trio._table import Table, checked_tables, seconds_of
from runnel_trio._worker._isolated import isolated
from runnel_trio._worker._member._partition._events import Events
from runnel_trio._worker._worker import Worker, running_beside
from runnel_trio.constants import ExceptionPolicy, Overflow
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured
from runnel_trio.interfaces import Middleware, Serializer
from runnel_trio.metrics import Metrics
from runnel_trio.settings import GivenSettings, Settings
from runnel_trio.tracing import Tracing, watched

if TYPE_CHECKING:
    from runnel_trio._operate._operator import Operator

__all__ = ["App"]

R = TypeVar("R", bound=Record)

_AT_LEAST_ONE = whole("a whole number, 1 or more")


class App(BackgroundTasks):
    """Streams and processors under one name, with one server.

    Args:
        name: part of every Redis key of the app.
        metrics, tracing: receive what the app does (see docs/howto/metrics); none by default.
        **settings: any of `runnel_trio.settings.Settings`; they take precedence over ``RUNNEL_*`` variables
            and files.

    Attributes:
        name: as given; likewise ``metrics`` and ``tracing``.
        settings: all of them, checked.
        converter: the cattrs converter for its records; register hooks on it before you declare streams.
        streams: by name.
        processors: by name.
        tables: by name.
        background: what `task`, `timer` and `crontab` registered.

    Raises:
        Misconfigured: the name or a setting cannot be used.

    Example:
        >>> from runnel_trio import App, Record
        >>> app = App(name="example", log_level="info", redis_url="127.0.0.1:6379")
        >>> class Order(Record):
        ...     order_id: int
        ...     amount: int
        >>> orders = app.stream("orders", record=Order, partition_by="order_id")
        >>> @app.processor(orders)
        ... async def printer(events):
        ...     async for order in events.records():
        ...         print(order.amount)
        >>> app.processors["printer"]
        <Processor example.orders/printer>
    """

    def __init__(
        self,
        name: str,
        *,
        metrics: Metrics | None = None,
        tracing: Tracing | None = None,
        **settings: Unpack[GivenSettings],
    ) -> None:
        self.name: str = checked_name("app", name)
        self.settings: Settings = Settings(**settings)
        self.converter: Converter = make_converter()
        self.streams: dict[str, Stream[Any]] = {}
        self.processors: dict[str, Processor[Any]] = {}
        self.tables: dict[str, Table[Any]] = {}
        BackgroundTasks.__init__(self)
        self.metrics: Metrics | None = metrics
        self.tracing: Tracing | None = tracing
        self._shared = SharedBroker(server_config(self.settings), metrics)

    def __repr__(self) -> str:
        streams, processors = len(self.streams), len(self.processors)
        return f"<App {self.name}: {counted(streams, 'stream')}, {counted(processors, 'processor')}>"

    @named
    def stream(
        self,
        name: str,
        record: type[R],
        partition_by: str | Callable[[R], Any],
        serializer: Serializer | None = None,
        partition_count: int | None = None,
        partition_size: int | None = None,
        hasher: Callable[[Any], int] | None = None,
        overflow: Overflow | str | None = None,
        max_event_bytes: int | None = None,
    ) -> Stream[R]:
        """Declare a stream. Omitted arguments are taken from the ``default_…`` settings.

        Args:
            name: part of its Redis keys.
            record: the class of its records.
            partition_by: attribute, or function of a record, that gives the key; events with equal keys stay
                in order.
            serializer: how records are stored.
            partition_count: how many partitions; to change it later, use ``runnel-trio stream repartition``.
            partition_size: how many events a partition holds at most.
            hasher: key → whole number; by default blake3 of a canonical form (see docs/reference/hashing).
            overflow: what `send` does when a partition is full: "block", "error" or "trim".
            max_event_bytes: the maximum size of an event; `send` refuses larger ones, and they cannot be
                read.

        Raises:
            Misconfigured: a value that cannot be used, or a stream of this name exists.

        Example:
            >>> from runnel_trio import App, JSONSerializer, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example")
            >>> app.stream("orders", Order, "order_id", partition_count=4, serializer=JSONSerializer())
            <Stream example.orders of Order, 4 partitions>
        """
        free_name(self.name, "stream", name, self.streams)
        check_record(record)
        check_key(record, partition_by)
        resolve = self.settings.resolve
        stored = resolve("serializer", serializer) or default_serializer()
        hashed = resolve("hasher", hasher) or blake3_hasher
        largest = resolve("max_event_bytes", max_event_bytes)
        stream: Stream[R] = Stream(
            spec=StreamSpec(
                app=self.name,
                name=name,
                partition_count=resolve("partition_count", partition_count),
                record=record.__name__,
                hasher="blake3" if hashed is blake3_hasher else name_of(hashed),
                partition_size=resolve("partition_size", partition_size),
                overflow=resolve("overflow", overflow),
            ),
            record=record,
            partition_by=partition_by,
            hasher=hashed,
            codec=RecordCodec(record, stored, self.converter, max_event_bytes=largest),
            connect=watched(self._shared.declared, self.metrics, self.tracing),
        )
        self.streams[name] = stream
        return stream

    @named
    def table(
        self,
        name: str,
        record: type[R],
        *,
        ttl: timedelta | float | None = None,
        max_entries: int | None = None,
        max_entry_bytes: int = 65_536,
    ) -> Table[R]:
        """Declare a table: keyed state of the processor that lists it in its ``tables``.

        Args:
            name: part of its Redis keys.
            record: the class of its records.
            ttl: how long an entry lasts after it was written, in seconds or as a timedelta, by the server's
                clock; for ever by default.
            max_entries: how many entries each partition may have; a write beyond raises `TableFull`. By
                default, as many as the server has memory for.
            max_entry_bytes: the maximum size of an entry; larger ones are refused where they are written.

        Raises:
            Misconfigured: a value that cannot be used, or a table of this name exists.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Account(Record):
            ...     spent: int = 0
            >>> App("example").table("accounts", Account, ttl=3600)
            <Table accounts of Account>
        """
        free_name(self.name, "table", name, self.tables)
        check_record(record)
        for what, value in {"max_entries": max_entries, "max_entry_bytes": max_entry_bytes}.items():
            if value is not None:
                _AT_LEAST_ONE.checked(what, value)
        self.tables[name] = table = Table(
            name=name,
            record=record,
            ttl=seconds_of(ttl),
            max_entries=max_entries,
            max_entry_bytes=max_entry_bytes,
            converter=self.converter,
        )
        return table

    @named
    def processor(
        self,
        stream: Stream[R],
        *,
        name: str | None = None,
        exception_policy: ExceptionPolicy
        | str
        | Mapping[type[Exception], ExceptionPolicy | str]
        | None = None,
        middleware: Sequence[Middleware] | None = None,
        outputs: Sequence[Stream[Any]] = (),
        tables: Sequence[Table[Any]] = (),
        lock_expiry: float | None = None,
        read_timeout: int | None = None,
        prefetch_count: int | None = None,
        prefetch_bytes: int | None = None,
        assignment_attempts: int | None = None,
        assignment_sleep: float | None = None,
        grace_period: float | None = None,
        pool_size: int | None = None,
        join_delay: float | None = None,
        max_unacked: int | None = None,
        concurrency: int | None = None,
        timeout: float | None = None,
        max_ahead: int | None = None,
        max_parked: int | None = None,
        park_retry: Backoff | None = None,
        max_attempts: int | None = None,
        commit_replicas: int | None = None,
    ) -> Callable[[Callable[[Events[R]], Awaitable[None]]], Processor[R]]:
        """Declare the decorated async function a processor of ``stream``.

        It is called for each partition, with that partition's `Events`. Omitted arguments are taken from the
        ``default_…`` settings; `Processor` says what each means. The first of ``middleware`` is outermost.
        ``outputs`` are the streams that the function may `Events.emit` to; ``tables`` are its own (`table`).
        ``exception_policy`` may map exception types to policies, narrower types first; the default
        policy applies to exceptions of other types.

        Raises:
            Misconfigured: a value that cannot be used, a function that is not async, or a processor of
                this name exists.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example")
            >>> orders = app.stream("orders", Order, partition_by="order_id")
            >>> @app.processor(orders, lock_expiry=30, prefetch_count=100)
            ... async def printer(events):
            ...     async for orders in events.take(10, within=1).records():
            ...         print(len(orders))
        """
        given = {
            "lock_expiry": lock_expiry, "read_timeout": read_timeout,
            "prefetch_count": prefetch_count, "prefetch_bytes": prefetch_bytes, "pool_size": pool_size,
            "assignment_attempts": assignment_attempts, "assignment_sleep": assignment_sleep,
            "grace_period": grace_period, "join_delay": join_delay, "max_unacked": max_unacked,
            "max_attempts": max_attempts, "commit_replicas": commit_replicas, "concurrency": concurrency,
            "timeout": timeout, "max_ahead": max_ahead, "max_parked": max_parked,
        }  # fmt: skip
        options = {name: self.settings.resolve(name, value) for name, value in given.items()}
        options["outputs"] = tuple(outputs)
        options |= {"policies": _policies(self.settings, exception_policy), "park_retry": park_retry}
        refuse_foreign(self.name, self.streams, stream)
        tested = partial(isolated, self._shared.private, self.settings, self.streams)
        links = tuple(middleware or ())

        def register(function: Callable[[Events[R]], Awaitable[None]]) -> Processor[R]:
            own = free_name(
                self.name, "processor", name_of(function) if name is None else name, self.processors
            )
            checked_tables(own, tables, self.tables)
            declared = Processor(
                stream=stream, function=function, name=own, middleware=links, tables=tuple(tables),
                isolated=tested, **options,
            )  # fmt: skip
            for table in tables:
                table.bind(own, stream)
            self.processors[own] = declared
            return declared

        return register

    async def run(
        self,
        *,
        processors: Collection[str] | None = None,
        task_status: trio.TaskStatus[Worker] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Run a worker (processors, tasks, timers and crontabs) until it is cancelled or stopped.

        ``worker = await nursery.start(app.run)`` returns when the worker has joined and owns its
        partitions (or stands by, while another worker owns them).

        Args:
            processors: names of those to run; all by default.
            task_status: receives the `Worker` once it owns its partitions or stands by.

        Raises:
            Misconfigured: nothing to run, an unknown name, a stream that was declared differently before, an
                unsuitable server, or a call while a command imports the module.
            BrokerUnavailable: the server cannot be reached at the start; later, the worker waits for it.
            Exception: what a processor or a task raised under ``ExceptionPolicy.HALT``, unwrapped.

        Cancellation: graceful; every partition finishes the event in hand, within ``grace_period``, and
            everything handled is committed.
        """
        refuse_while_importing(self.name)
        given: dict[str, Any] = {
            "processors": self._chosen(processors), "declared": self.processors.values(),
            "functions": self.background,
            "settings": self.settings, "metrics": self.metrics,
        }  # fmt: skip
        async with self._shared.used() as broker:
            await Worker(broker=broker, app=self.name, **given).run(task_status=task_status)

    @asynccontextmanager
    async def worker(self, processors: Collection[str] | None = None) -> AsyncIterator[Worker]:
        """A worker that runs during the body of an ``async with``, and drains at its end.

        Args:
            processors: names of those to run; all by default.

        Raises:
            As `run`. What a processor raises under HALT cancels the body, and is raised.
        """
        async with running_beside(partial(self.run, processors=processors)) as worker:
            yield worker

    @asynccontextmanager
    async def session(self) -> AsyncIterator[App]:
        """Keep the connection to the server open, and an embedded server running, for code that only sends.

        Sending works without it too; then the connection lasts until the Trio run ends.

        Raises:
            BrokerUnavailable: the server cannot be reached.
        """
        async with self._shared.used():
            yield self

    @asynccontextmanager
    async def operator(self) -> AsyncIterator[Operator]:
        """Inspect and control the app on its server, as the command line does, from a program of your own.

        The connection stays open for the body. Nothing runs, and only your calls change anything. The
        operator knows the processors that are declared by now; if files of ``autodiscover`` declare some,
        call `discover` first.

        Raises:
            Misconfigured: the server is unsuitable.
            BrokerUnavailable: the server cannot be reached.

        Cancellation: leaves the body as any block; the connection is closed.

        Example:
            >>> import trio
            >>> from runnel_trio import App
            >>> from runnel_trio.operating import troubles
            >>> app = App("shop", redis_url="memory://")
            >>> async def main():
            ...     async with app.operator() as op:
            ...         for trouble in troubles(await op.overview()):
            ...             print(trouble.line)
            >>> trio.run(main)
            shop: the server knows no stream of app 'shop': are name and server right?
        """
        from runnel_trio._operate._operator import Operated, Operator  # few programs need it

        processors = {
            name: Operated(stream=x.stream, name=name, sinks=x.sinks, letters=partial(letters_of, x))
            for name, x in self.processors.items()
        }
        led = sum(x.on_leader for x in self.background)
        async with self._shared.used() as broker:
            yield Operator(self.name, broker, self.streams, processors, led)

    @property
    def server_url(self) -> str:
        """The URL of the server in use, with password.

        Redis clients understand it if it names one server; `redis_client` makes a client for any deployment.
        The URL is known in the Trio run that uses the server, and in threads that it starts with
        ``trio.to_thread.run_sync``.

        Raises:
            BrokerUnavailable: the app is not connected; it is inside `run`, `worker` and `session`.
        """
        broker = self._shared.current()
        if broker is None:
            raise BrokerUnavailable(
                f"app {self.name!r} is not connected: use server_url in a processor, or inside "
                "`async with app.worker():` or `async with app.session():`"
            )
        return broker.url

    def redis_client(self) -> Any:
        """A redis-py client for the server in use, for data of your own beside the streams.

        It is a ``redis.Redis`` (with Sentinels too), a ``redis.cluster.RedisCluster`` on a cluster, or what
        ``redis_factory`` makes. **It blocks**, and so may this method (a cluster's client asks for its
        nodes): call both with ``trio.to_thread.run_sync``, or everything in this worker waits for the server.
        Several threads may share the client. You own it, and must close it.

        Raises:
            BrokerUnavailable: not connected, as for `server_url`.
            Misconfigured: the app is on ``memory://``.

        Example:
            >>> app = App("shop", redis_url="embedded://")
            >>> def count() -> int:  # in a thread
            ...     with app.redis_client() as redis:
            ...         return redis.incr("visits")
            >>> async def counted() -> int:
            ...     async with app.session():
            ...         return await trio.to_thread.run_sync(count)
            >>> trio.run(counted)
            1
        """
        return redis_client(attrs.evolve(self._shared.server, url=self.server_url))

    def use_server(self, url: str, *, origin: str = "use_server") -> AbstractContextManager[object]:
        """Use a different server than the settings say, from the next run on; for tests and the command line.

        In a ``with app.use_server("memory://"):`` block, only for its body; otherwise permanently.

        Args:
            url: as the setting ``redis_url``.
            origin: what `Settings.origins` then says about it.

        Raises:
            Misconfigured: this is not a valid URL.
        """
        gone = {} if self.settings.redis_factory is None else {"redis_factory": None}
        (back := ExitStack()).callback(self._set, self.settings)
        self._set(self.settings.changed(origin, redis_url=url, **gone))
        return back

    def _set(self, settings: Settings) -> None:
        self.settings, self._shared.server = settings, server_config(settings)

    def use_metrics(self, metrics: Metrics) -> None:
        """Report what the app does to these metrics, from the next run on; for the command line."""
        self.metrics = self._shared.metrics = metrics
        for stream in self.streams.values():
            stream.connect = watched(self._shared.declared, metrics, self.tracing)

    def discover(self) -> None:
        """Import the modules that the setting ``autodiscover`` names; Misconfigured when nothing matches."""
        if self.settings.autodiscover is not None:
            import_all(self.settings.autodiscover)

    def _chosen(self, names: Collection[str] | None) -> list[Processor[Any]]:
        self.discover()
        found = chosen(self.name, self.processors, names)
        if not self.processors and not self.background:
            hint = "declare one with @app.processor(stream)"
            raise Misconfigured(f"app {self.name!r} has no processor to run; {hint}")
        return found if self.tracing is None else [self.tracing.around(x) for x in found]


def _policies(settings: Settings, given: Any) -> Policies:
    """The exception policies of a processor: one for all, or one for each type of exception."""
    if not isinstance(given, Mapping):
        return Policies(settings.resolve("exception_policy", given))
    found: list[tuple[type[Exception], ExceptionPolicy]] = []
    for kind, policy in given.items():
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise Misconfigured(
                f"exception_policy={described(given)}: {described(kind)} is no type of exceptions; write "
                'them as in {ValueError: "ignore", Exception: "quarantine"}'
            )
        for wider, _ in found:
            if issubclass(kind, wider):
                raise Misconfigured(
                    f"exception_policy: {kind.__name__} is never reached behind {wider.__name__}, which it "
                    "is a kind of: write the narrower type first"
                )
        found.append((kind, settings.resolve("exception_policy", policy)))
    return Policies(settings.resolve("exception_policy"), tuple(found))
