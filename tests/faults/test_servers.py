"""Servers that crash, lose what they had, fail over, refuse, or think for too long."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import trio
from fault_app import Order
from fault_bench import EXPIRY, MAX_UNACKED, Bench, Gate, Producer, kinds, pause
from fault_proxy import Proxy
from fault_server import Server
from fault_servers import deleted, emptied, flushed

from runnel_trio import App, BrokerRefused, Misconfigured
from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._values import Batch, Commit, CommitOutcome, Output, ServerConfig
from runnel_trio._worker._member._partition import _source

Mutate = Callable[..., None]


def facts(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as an error or a warning."""
    return [
        record.fact for record in caplog.records if hasattr(record, "fact") and record.levelname != "INFO"
    ]


@pytest.mark.parametrize("seed", [0, 1])
async def test_a_server_that_is_killed_and_comes_back_loses_and_repeats_nothing(
    seed: int, bench: Bench
) -> None:
    chance = random.Random(seed)
    # With everysec the server puts off a write for up to two seconds when the disk is busy, though it has answered.
    bench.server.client.config_set("appendfsync", "always")
    async with bench.producer() as producer, bench.app(work=pause(0.002), lock_expiry=3).worker():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: producer.send(900, pause=0.005))
            for turn in range(3):
                await bench.handled(150 * turn + chance.randrange(20, 150))
                bench.server.kill()
                await bench.server.start(appendfsync="always")
                began, before = trio.current_time(), bench.diary.count()
                await bench.handled(before + 60)  # more than was read ahead of anything sent meanwhile
                assert trio.current_time() - began < 20
        await bench.drained()
    assert await bench.verdict() == []


async def commit_ten_with_outputs(bench: Bench, app: App) -> None:
    """Ten entries; the cursor passes each together with the entry that it puts elsewhere."""
    orders, spec = app.streams["orders"].spec, app.processors["note"].spec
    entry = Batch(names=(b"data",), values=(b"{}",))
    output = Output(app.stream("out", app.streams["orders"].record, partition_by="key").spec, 0, entry)
    async with open_redis(ServerConfig(bench.server.url)) as broker:
        await broker.append(orders, {0: Batch(names=(b"data",), values=(b"{}",) * 10)})
        (granted,) = await broker.acquire(spec, "me", {0: None})
        cursor = b"0-0"
        for count, (xid, _) in enumerate(await broker.entries(orders, 0), start=1):
            commit = Commit(granted.lease, count, cursor, xid, count, xid, (output,))
            assert await broker.commit(spec, [commit]) == [CommitOutcome.COMMITTED]
            cursor = xid


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99, 1.0])
async def test_a_journal_that_ends_in_the_middle_of_a_commit_has_all_of_it_or_nothing(
    share: float, bench: Bench
) -> None:
    await commit_ten_with_outputs(bench, bench.app())
    bench.server.kill()
    (journal,) = bench.server.journals
    written = journal.read_bytes()
    begins = written.rindex(b"*1\r\n$5\r\nMULTI")
    ends = written.index(b"EXEC\r\n", begins) + len(b"EXEC\r\n")
    journal.write_bytes(written[: begins + int((ends - begins) * share)])
    await bench.server.start()
    ((group,),) = bench.server.groups().values()
    made = 10 if share == 1 else 9
    assert group["entries-read"] == made
    assert bench.server.client.xlen("runnel:{faults:0}:out:log") == made


@pytest.mark.parametrize("lose", [emptied, flushed, deleted])
async def test_after_a_server_has_lost_everything_what_is_sent_is_handled(lose: Any, bench: Bench) -> None:
    async with bench.producer() as producer, bench.app().worker():
        await producer.send(60)
        await bench.drained()
        await lose(bench.server)
        await producer.send(60)
        await bench.handled(120)
        await bench.drained()
    # Again for the cursor that is gone, and again where the seat is gone too.
    assert await bench.verdict(repeats=120, journal=False, order=False) == []
    by_key: dict[str, list[int]] = {}
    for line in bench.diary.handled():
        by_key.setdefault(line.key, []).append(line.seq)
    assert all(list(dict.fromkeys(seqs)) == list(range(10)) for seqs in by_key.values())


@asynccontextmanager
async def replicated(bench: Bench, directory: Path) -> AsyncIterator[tuple[Server, Proxy]]:
    """A replica of the bench's server, and the network between the two."""
    replica, between = Server(directory / "replica"), await bench.proxy_to(bench.server.port)
    try:
        await replica.start()
        replica.client.replicaof("127.0.0.1", between.port)
        await bench.until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        yield replica, between
    finally:
        replica.end()


async def confirmed(bench: Bench, within: int = 300) -> int:
    """How many replicas have everything that was written until now, or so many milliseconds later."""

    def ask() -> int:
        bench.server.client.set("probe", 1)  # WAIT speaks of what its own connection has written
        return int(bench.server.client.wait(1, within))

    return await trio.to_thread.run_sync(ask)


def waiting_readers(bench: Bench) -> int:
    """How many reads the server has nothing for."""
    return int(bench.server.client.info("clients")["blocked_clients"])


async def fail_over(bench: Bench, replica: Server) -> None:
    """The server is gone; the replica takes its place, but nobody is let through to it yet."""
    bench.server.kill()
    replica.client.replicaof("NO", "ONE")
    bench.server, bench.proxy.target = replica, replica.port


def let_through(bench: Bench) -> None:
    bench.proxy.cut()
    bench.proxy.release()


@asynccontextmanager
async def goes_on(bench: Bench, before: Producer, unconfirmed: int) -> AsyncIterator[Producer]:
    """The producer that sends to the new server; what no replica had confirmed may be lost."""
    del before.acked[-unconfirmed:]
    async with bench.producer() as producer:
        producer.numbers = before.numbers
        yield producer


async def lossy_failover(bench: Bench, directory: Path, *, committed: int = 15) -> list[str]:
    """Row 14: the last writes are lost, with a commit under way; the new history uses their ids again.

    Of the twenty events that are lost, so many were committed before: their commits are lost too.
    """
    gate = Gate()

    async def first_of_many(order: Order) -> None:  # see `in_one_go`
        if order.n == 30:
            await gate(order)

    work = gate if committed else first_of_many
    async with replicated(bench, directory) as (replica, between):
        async with bench.producer() as producer, bench.app(work=work, lock_expiry=3).worker():
            await producer.send_with_ids("a", 1, 30)
            await bench.drained()
            # The worker knows it too: else it may have to wait for that answer before it handles all that comes.
            await bench.until(lambda: bench.diary.commits()[-1].last == "30-0")
            assert await confirmed(bench, 5000) == 1
            between.hold()
            if committed:
                await producer.send_with_ids("a", 31, committed)
                await bench.drained()
            gate.close()
            await producer.send_with_ids("a", 31 + committed, 20 - committed)
            await bench.until(lambda: gate.waiting)
            await bench.until(
                lambda: waiting_readers(bench) == 2
            )  # events and news: all that was sent is read
            bench.proxy.hold()
            gate.open()
            await bench.handled(50)
            assert await confirmed(bench) == 0
            await fail_over(bench, replica)
            async with goes_on(bench, producer, 20) as second:
                await second.send_with_ids("a", 31, 10)
                let_through(bench)
                await bench.until(lambda: bench.diary.commits()[-1].last in {"40-0", "50-0"})
                await bench.drained(6)
        between.cut()
        return await bench.verdict(repeats=MAX_UNACKED, journal=False, order=False)


async def test_a_failover_that_loses_writes_skips_nothing_that_is_sent_after_it(
    bench: Bench, tmp_path: Path
) -> None:
    assert await lossy_failover(bench, tmp_path) == []
    assert "rewound" in {commit.outcome for commit in bench.diary.commits()}


async def test_gate_without_comparison_a_failover_skips(bench: Bench, tmp_path: Path, mutate: Mutate) -> None:
    mutate("compare", "number", "history")
    assert "L" in kinds(await lossy_failover(bench, tmp_path))


@pytest.fixture
def in_one_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events without an await are all handled before anything else runs, so that one commit has them all."""
    monkeypatch.setattr(_source, "_SLICE", 10.0)


async def test_a_commit_that_a_failover_lost_is_not_repeated_over_what_was_sent_since(
    in_one_go: None, bench: Bench, tmp_path: Path
) -> None:
    assert await lossy_failover(bench, tmp_path, committed=0) == []
    assert "rewound" in {commit.outcome for commit in bench.diary.commits()}


async def test_gate_without_a_look_at_the_end_of_the_log_such_a_commit_skips(
    in_one_go: None, bench: Bench, tmp_path: Path, mutate: Mutate
) -> None:
    mutate("history")
    assert "L" in kinds(await lossy_failover(bench, tmp_path, committed=0))


async def test_an_idle_owner_whose_position_is_ahead_of_the_new_history_goes_back(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with replicated(bench, tmp_path) as (replica, between):
        async with bench.producer() as producer, bench.app(lock_expiry=2).worker():
            await producer.send_with_ids("a", 1, 30)
            await bench.drained()
            assert await confirmed(bench, 5000) == 1
            between.hold()
            await producer.send_with_ids("a", 31, 20)
            await bench.drained()
            bench.proxy.hold()
            await fail_over(bench, replica)
            async with goes_on(bench, producer, 20) as second:
                await second.send_with_ids("a", 31, 10)
                let_through(bench)
                with trio.fail_after(60):
                    await bench.handled(60)
                await bench.drained()
        between.cut()
        assert await bench.verdict(journal=False, order=False) == []
    # By its next heartbeat, or, where the machine lets that wait, by its next commit.
    assert {"cursor-moved", "commit-refused"} & {*facts(caplog)}


async def test_a_server_that_may_evict_is_refused(bench: Bench) -> None:
    bench.server.client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(Misconfigured, match="maxmemory-policy allkeys-lru"):
        await bench.app().run()


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """A script that does not end keeps the server."""
    server.client.config_set("busy-reply-threshold", 50)
    client = redis.Redis(port=server.port, socket_timeout=20)

    def spin() -> None:
        with pytest.raises(redis.ResponseError, match="killed by user"):
            client.eval("while true do end", 0)

    thread = threading.Thread(target=spin)
    thread.start()
    try:
        yield
    finally:
        server.client.script_kill()
        thread.join()
        client.close()


@contextmanager
def readonly(server: Server) -> Iterator[None]:
    """It thinks that it is a replica."""
    server.client.replicaof("127.0.0.1", 1)
    yield
    server.client.replicaof("NO", "ONE")


@contextmanager
def masterdown(server: Server) -> Iterator[None]:
    """As `readonly`, and it does not answer reads either."""
    server.client.config_set("replica-serve-stale-data", "no")
    with readonly(server):
        yield


@contextmanager
def too_many(server: Server) -> Iterator[None]:
    """It has no room for one more connection."""
    server.client.config_set("maxclients", 1)
    server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    yield
    server.client.config_set("maxclients", 1000)


@contextmanager
def unreplicated(server: Server) -> Iterator[None]:
    """It writes only what a replica gets, and there is none."""
    server.client.config_set("min-replicas-to-write", 1)
    yield
    server.client.config_set("min-replicas-to-write", 0)


@contextmanager
def unsaved(server: Server) -> Iterator[None]:
    """It writes nothing any more, because it could not save what it has."""
    (server.directory / "dump.rdb" / "in the way").mkdir(parents=True)
    server.client.config_set("save", "3600 1000000")
    server.client.bgsave()
    while server.client.info("persistence")["rdb_last_bgsave_status"] == "ok":
        pass
    yield
    server.client.config_set("save", "")


@contextmanager
def full(server: Server) -> Iterator[None]:
    """It has no memory left."""
    server.client.config_set("maxmemory", 1)
    yield
    server.client.config_set("maxmemory", 0)


#: And a word of what is told of it.
REFUSALS = {
    busy: "BUSY",
    readonly: "read only replica",
    masterdown: "replica-serve-stale-data",
    too_many: "",
    unreplicated: "NOREPLICAS",
    unsaved: "MISCONF",
    full: "maxmemory",
}
OUTAGE = ["server-away", "server-back"]


def outages(caplog: pytest.LogCaptureFixture, url: str) -> list[str]:
    """What was told of the server by those who know it by this URL."""
    told = [x for x in caplog.records if getattr(x, "fact", "").startswith("server-")]
    return [x.fact for x in told if x.facts["url"] == url]  # type: ignore[attr-defined]


def told_by_a_worker(refusing: Any) -> list[list[str]]:
    """What it may tell of a server that refuses.

    One that becomes a replica first hangs up on who waits in it, and answers when it is asked again: where nobody
    writes in these milliseconds, that is over before the refusals begin.
    """
    return [OUTAGE, 2 * OUTAGE] if refusing is readonly else [OUTAGE]


@pytest.mark.parametrize("refusing", REFUSALS)
async def test_what_a_server_refuses_for_a_while_is_repeated_until_it_does_not(
    refusing: Any, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    url, app = bench.server.url, bench.app(work=pause(0.002), lock_expiry=4, read_timeout=100)
    async with bench.producer() as producer, app.worker():
        await producer.send(300)
        await bench.handled(30)
        owners = bench.server.owners()
        async with trio.open_nursery() as nursery:
            with refusing(bench.server):
                nursery.start_soon(producer.send, 100)
                await bench.until(lambda: outages(caplog, url))
                await trio.sleep(0.8)
        await bench.drained()
        await bench.until(lambda: outages(caplog, url)[1:])
        assert bench.server.owners() == owners
    assert await bench.verdict() == []
    assert outages(caplog, url) == OUTAGE, "of those who send"
    told = [[]] if refusing is full else told_by_a_worker(refusing)
    assert outages(caplog, bench.proxy.url) in told, "of the worker"
    assert REFUSALS[refusing] in caplog.text


@pytest.mark.parametrize("refusing", [readonly, unreplicated, unsaved])
async def test_an_idle_worker_tells_too_that_the_server_refuses_to_write(
    refusing: Any, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.producer() as producer, bench.app(read_timeout=100).worker():
        await producer.send(40)
        await bench.drained()
        with refusing(bench.server):
            await bench.until(lambda: outages(caplog, bench.proxy.url))
            await trio.sleep(1.5 * EXPIRY)  # longer than it trusts its leases
        await bench.until(lambda: outages(caplog, bench.proxy.url)[1:])
        await producer.send(40)
        await bench.drained()
    assert await bench.verdict() == []
    assert outages(caplog, bench.proxy.url) in told_by_a_worker(refusing)


async def test_a_server_that_is_loading_is_waited_for(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    async with bench.producer() as producer, bench.app(lock_expiry=6).worker():
        await producer.send(300)
        await trio.to_thread.run_sync(fill, bench.server)
        bench.server.kill()
        slowly = {"key-load-delay": "50", "loading-process-events-interval-bytes": "1024"}
        await bench.server.start(ready=False, **slowly)
        await bench.until(lambda: is_loading(bench.server))
        await producer.send(100)
        await bench.drained()
        await bench.until(lambda: outages(caplog, bench.proxy.url)[1:])
    assert await bench.verdict() == []
    assert outages(caplog, bench.proxy.url) == OUTAGE


def fill(server: Server) -> None:
    """Give it something to load: it looks at its clients after each thousand of commands."""
    with server.client.pipeline(transaction=False) as pipeline:
        for n in range(20_000):
            pipeline.set("filling", n)
        pipeline.execute()


def is_loading(server: Server) -> bool:
    try:
        server.client.exists("anything")
    except redis.exceptions.BusyLoadingError:
        return True
    except redis.ConnectionError:
        pass
    return False


def locked(server: Server) -> None:
    """Who connects from now on needs a password."""
    server.client.config_set("requirepass", "secret")


def forbidden(server: Server) -> None:
    """Nobody may call a script any more."""
    server.client.acl_setuser("default", enabled=True, commands=["-evalsha", "-eval"])


@pytest.mark.parametrize("refuse", [locked, forbidden])
async def test_what_waiting_does_not_heal_ends_the_worker_with_a_plain_error(
    refuse: Callable[[Server], None], bench: Bench
) -> None:
    async with bench.producer() as producer:
        with trio.fail_after(60), pytest.raises(BrokerRefused):
            async with bench.app(work=pause(0.002), grace_period=1).worker():
                await producer.send(100)
                await bench.handled(20)
                refuse(bench.server)
                bench.proxy.cut()
                await trio.sleep_forever()
    assert bench.server.guests() == []
