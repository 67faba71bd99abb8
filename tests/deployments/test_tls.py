"""TLS, Unix sockets and passwords; what does not fit is said at once, and what to do."""

from __future__ import annotations

import statistics
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trio
from fault_app import Order
from fault_bench import Bench
from fault_server import Server, free_port
from rig_cluster import Cluster
from rig_group import SERVICE, Sentinel
from rig_tls import Certificates, Front

from runnel_trio import App, RunnelError

Benches = Callable[[Any], Bench]
#: Every character that means something in a URL.
PASSWORD = "p@ss:w/rd?#[1]&%20=+ ö"


@pytest.fixture
def bench(bench: Benches, server: Server) -> Bench:
    """Before the server."""
    return bench(server)


@pytest.fixture
def ports(server: Server, certificates: Certificates, tmp_path: Path) -> Iterator[dict[str, int]]:
    """Of the server, behind TLS.

    ``open`` lets everybody in, ``closed`` those who have a certificate, ``elsewhere`` has that of another host.
    """
    front, target = Front(tmp_path), server.port
    listens = {
        "open": {"certificate": certificates.server},
        "closed": {"certificate": certificates.server, "ca": certificates.ca},
        "elsewhere": {"certificate": certificates.elsewhere},
    }
    ports = {name: free_port() for name in listens}
    try:
        front.start([{**listens[name], "port": ports[name], "target": target} for name in listens])
        yield ports
    finally:
        front.end()


async def works(bench: Bench, url: str, *, journal: bool = True) -> None:
    """What is sent through it is handled."""
    async with bench.producer(url) as producer, bench.app(url=url).worker():
        await producer.send(120)
        await bench.drained()
    assert await bench.verdict(journal=journal) == []


async def test_a_server_behind_tls(bench: Bench, ports: dict[str, int], certificates: Certificates) -> None:
    await works(bench, f"rediss://localhost:{ports['open']}?{certificates.query()}")


async def test_a_server_that_wants_a_certificate_of_its_clients(
    bench: Bench, ports: dict[str, int], certificates: Certificates
) -> None:
    mine = certificates.query(ssl_certfile=certificates.client, ssl_keyfile=certificates.client)
    await works(bench, f"rediss://localhost:{ports['closed']}?{mine}")


async def test_a_certificate_of_another_host_if_that_is_said(
    bench: Bench, ports: dict[str, int], certificates: Certificates
) -> None:
    await works(
        bench, f"rediss://localhost:{ports['elsewhere']}?{certificates.query(ssl_check_hostname='false')}"
    )


#: What is wrong → port, the query, and the words that say so and what to do.
REFUSED = {
    "a stranger's CA": ("open", {"ssl_ca_certs": "stranger"}, "certificate.*ssl_ca_certs"),
    "no CA": ("open", {}, "certificate.*ssl_ca_certs"),
    "another host": ("elsewhere", {"ssl_ca_certs": "ca"}, "localhost.*ssl_check_hostname"),
    "no certificate": ("closed", {"ssl_ca_certs": "ca"}, "certificate.*ssl_certfile"),
    "no such file": ("open", {"ssl_ca_certs": "nothing"}, r"nothing\.pem"),
}


@pytest.mark.parametrize("wrong", REFUSED)
async def test_what_is_wrong_with_certificates_is_said_at_once(
    wrong: str, bench: Bench, ports: dict[str, int], certificates: Certificates
) -> None:
    port, options, words = REFUSED[wrong]
    query = "&".join(f"{name}={certificates.ca.with_name(f'{of}.pem')}" for name, of in options.items())
    with trio.fail_after(60), pytest.raises(RunnelError, match=words):
        await bench.app(url=f"rediss://localhost:{ports[port]}?{query}").run()


async def test_tls_to_a_server_that_has_none_is_said_at_once(bench: Bench, server: Server) -> None:
    with trio.fail_after(60), pytest.raises(RunnelError, match="TLS"):
        await bench.app(url=f"rediss://localhost:{server.port}?socket_timeout=0.3").run()


@asynccontextmanager
async def timed(name: str, url: str) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """Sends one event, and returns how many seconds later its handler had it."""
    app = App(name, redis_url=url, default_partition_count=1)
    orders = app.stream("orders", Order, partition_by="key")
    sender, receiver = trio.open_memory_channel[float](0)

    @app.processor(orders)
    async def note(events: Any) -> None:
        async for _ in events:
            await sender.send(trio.current_time())

    async def once() -> float:
        began = trio.current_time()
        await orders.send(Order(key="a", n=0))
        return await receiver.receive() - began

    async with app.worker():
        yield once


async def test_an_event_comes_as_soon_through_tls(ports: dict[str, int], certificates: Certificates) -> None:
    secret = f"rediss://localhost:{ports['open']}?{certificates.query()}"
    open_to_all = f"redis://localhost:{ports['open']}"
    async with timed("plain", open_to_all) as plain, timed("encrypted", secret) as encrypted:
        with trio.fail_after(60):
            took = [(await plain(), await encrypted()) for _ in range(200)]
    # In turn, and the faster half of each: what else the machine does is not what is measured.
    first, second = (statistics.quantiles(each, n=4)[0] for each in zip(*took, strict=True))
    assert second < 1.5 * first + 0.001


async def test_no_thread_waits_for_what_comes_through_tls(
    bench: Bench, ports: dict[str, int], certificates: Certificates
) -> None:
    """A worker that waits has one thread more than nothing: that of the heartbeat."""
    url = f"rediss://localhost:{ports['open']}?{certificates.query()}"
    async with bench.producer(url) as producer, bench.app(url=url, read_timeout=5000).worker():
        await producer.send(40)
        await bench.drained()
        with trio.fail_after(60):
            while (waiting := trio.lowlevel.current_statistics().io_statistics.tasks_waiting_read) == 0:
                await trio.sleep(0.01)
        assert waiting >= 1
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0


async def test_records_that_fill_many_tls_records(
    bench: Bench, ports: dict[str, int], certificates: Certificates
) -> None:
    """What a TLS record had decrypted and nobody has read yet is not waited for."""
    url = f"rediss://localhost:{ports['open']}?{certificates.query()}"
    async with bench.producer(url) as producer, bench.app(url=url, prefetch_count=500).worker():
        for batch in (1, 10, 100, 1000):
            await producer.send(batch, batch=batch)
            await bench.until(lambda: bench.diary.count() == len(producer.acked))
        await bench.drained()
    assert await bench.verdict() == []


@pytest.fixture
async def locked(tmp_path: Path) -> Any:
    """A server on a port and a Unix socket, with a password."""
    server = Server(tmp_path / "locked", unixsocket=str(tmp_path / "s o@c%k"), requirepass=PASSWORD)
    try:
        await server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
async def watched(server: Server, certificates: Certificates, tmp_path: Path) -> AsyncIterator[str]:
    """The URL of the server and a Sentinel, each behind TLS; the Sentinel names the server as it is there."""
    front, ports = Front(tmp_path), [free_port(), free_port()]
    sentinel = Sentinel(tmp_path / "sentinel", ports[0], 1)
    targets = zip(ports, (server.port, sentinel.port), strict=True)
    try:
        front.start([{"certificate": certificates.server, "port": a, "target": b} for a, b in targets])
        await sentinel.start()
        yield f"rediss+sentinel://localhost:{ports[1]}/{SERVICE}?{certificates.query()}"
    finally:
        sentinel.end()
        front.end()


async def test_a_group_behind_tls(bench: Bench, watched: str) -> None:
    await works(bench, watched)


async def test_a_cluster_behind_tls(
    bench: Bench, cluster: Cluster, certificates: Certificates, tmp_path: Path
) -> None:
    bench.server = cluster
    front, ports = Front(tmp_path), {node: free_port() for node in cluster.nodes}
    front.start(
        [{"certificate": certificates.server, "port": ports[node], "target": node.port} for node in ports]
    )
    try:
        await cluster.announce(ports)
        url = f"rediss+cluster://localhost:{ports[cluster.nodes[0]]}?{certificates.query()}"
        await works(bench, url, journal=False)
    finally:
        front.end()
        await cluster.announce({})


@pytest.mark.parametrize("user", ["", "default"])
async def test_a_password_with_every_character(user: str, bench: Bench, locked: Server) -> None:
    bench.server = locked
    await works(bench, f"redis://{user}:{quote(PASSWORD, safe='')}@127.0.0.1:{locked.port}")


async def test_a_unix_socket(bench: Bench, locked: Server, tmp_path: Path) -> None:
    bench.server = locked
    await works(bench, f"unix://:{quote(PASSWORD, safe='')}@{quote(str(tmp_path / 's o@c%k'))}")


async def test_a_wrong_password_is_not_shown(
    bench: Bench, locked: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(60), pytest.raises(RunnelError, match="password") as refused:
        await bench.app(url=f"redis://:{quote('not ' + PASSWORD, safe='')}@127.0.0.1:{locked.port}").run()
    shown = "".join([str(refused.value), caplog.text])
    assert "w/rd" not in shown
    assert "w%2Frd" not in shown
