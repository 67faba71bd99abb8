"""Sends from code outside of Trio."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from runnel_trio import App, Misconfigured, Record, RecordInvalid, Stream
from runnel_trio._sending._portal import Portal


class Order(Record):
    key: str
    n: int


@pytest.fixture
def orders(runnel_app_settings: dict[str, Any]) -> Stream[Order]:
    return App("sync", **runnel_app_settings).stream("orders", Order, "key", partition_count=4)


@pytest.fixture
def stored(runnel_app_settings: dict[str, Any]) -> Any:
    """Entries, by key of their log."""

    def look() -> dict[str, int]:
        with redis.Redis.from_url(runnel_app_settings["redis_url"]) as client:
            keys: Any = client.keys("runnel:*:log")
            return {key.decode(): client.xlen(key) for key in keys}

    return look


def test_threads_share_one_connection_and_keep_it(
    orders: Stream[Order], stored: Any, runnel_app_settings: dict[str, Any]
) -> None:
    def send(thread: int) -> None:
        for n in range(20):
            orders.send_sync(Order(key=str(thread), n=n))

    with redis.Redis.from_url(runnel_app_settings["redis_url"]) as client:
        orders.send_sync(Order(key="first", n=0))
        before: Any = client.info("stats")
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(send, range(8)))
        after: Any = client.info("stats")
    assert sum(stored().values()) == 161
    assert after["total_connections_received"] == before["total_connections_received"]


def test_what_send_refuses_is_raised(orders: Stream[Order], stored: Any) -> None:
    with pytest.raises(RecordInvalid, match="expected int"):
        orders.send_sync(Order(key="a", n="x"))  # type: ignore[arg-type]
    assert stored() == {}


def test_it_waits_no_longer_than_it_is_told_to(runnel_app_settings: dict[str, Any]) -> None:
    app = App("sync", **runnel_app_settings)
    small = app.stream("small", Order, "key", partition_count=1, partition_size=2)
    small.send_sync(Order(key="a", n=0), Order(key="a", n=1))
    with pytest.raises(trio.TooSlowError):
        small.send_sync(Order(key="a", n=2), within=0.2)


async def test_a_task_of_trio_must_await(orders: Stream[Order]) -> None:
    with pytest.raises(Misconfigured, match=r"await stream\.send"):
        orders.send_sync(Order(key="a", n=0))


async def test_a_thread_of_trio_sends_in_its_own_run() -> None:
    app = App("sync", redis_url="memory://")
    orders = app.stream("orders", Order, "key", partition_count=1)
    async with app.session():
        await trio.to_thread.run_sync(orders.send_sync, Order(key="a", n=0))
        async with orders.connect(orders) as broker:
            assert len(await broker.entries(orders.spec, 0)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_process_that_was_forked_sends_and_both_end(
    runnel_app_settings: dict[str, Any], stored: Any, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
            import os
            from runnel_trio import App, Record

            class Order(Record):
                key: str

            orders = App("sync", redis_url={runnel_app_settings["redis_url"]!r}).stream("orders", Order, "key")
            orders.send_sync(Order(key="parent"))
            child = os.fork()
            orders.send_sync(Order(key="child" if child == 0 else "parent again"))
            if child:
                assert os.waitpid(child, 0)[1] == 0
        """)
    )
    subprocess.run([sys.executable, "-W", "ignore", program], check=True, timeout=60)
    assert sum(stored().values()) == 3


def test_a_portal_that_was_closed_opens_again() -> None:
    portal = Portal()
    assert portal.run(trio.sleep, 0) is None
    portal.close()
    assert portal.run(trio.sleep, 0) is None
    portal.close()
    portal.close()


def test_send_without_trio_says_what_to_use(orders: Stream[Order]) -> None:
    async def wrong() -> None:
        await orders.send(Order(key="a", n=0))

    with pytest.raises(Misconfigured, match=r"use `stream\.send_sync"):
        asyncio.run(wrong())
