"""Commands say which key of the app has a value of somebody else's, and what to do, whichever key it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runnel_trio._embedded._server import start

LOG, META = "runnel:{shop:0}:orders:log", "runnel:{shop}:orders:meta"
LEASE, QUARANTINE = "runnel:{shop:0}:orders:lease:printer", "runnel:{shop:0}:orders:quarantine:printer"
MEMBERS, LEADER = "runnel:{shop/orders/printer}:members", "runnel:{shop}:leader:members"
ONE = """
from runnel_trio import App, Record

app = App("shop", default_partition_count=1)

class Order(Record):
    key: str
    n: int

orders = app.stream("orders", Order, partition_by="key")

@app.processor(orders)
async def printer(events):
    async for order in events.records():
        pass
"""
CASES = {
    ("status", "one:app"): [LOG, META, LEASE, QUARANTINE, MEMBERS, LEADER],
    ("status", "--app", "shop"): [LOG, META],
    ("inspect", "one:orders"): [LOG, META],
    ("stream", "info", "one:orders"): [LOG, META],
    ("stream", "repartition", "one:orders", "--to", "2"): [LOG, META],
    ("processor", "reset", "one:printer"): [LOG, META, LEASE, QUARANTINE, MEMBERS],
    ("processor", "pause", "one:printer"): [META, QUARANTINE],
    ("processor", "resume", "one:printer"): [QUARANTINE],
    ("send", "one:orders", '{"key":"a","n":1}'): [LOG, META, "runnel:{shop:0}:orders:producers"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    running = start("embedded://")
    yield running.url
    running.stop()


@pytest.fixture
def admin(server: str) -> Iterator[Any]:
    with redis.Redis.from_url(server, protocol=2) as admin:
        admin.flushall()
        yield admin


@pytest.mark.parametrize(
    ("words", "key"), [(words, key) for words, keys in CASES.items() for key in keys], ids=str
)
def test_a_command_names_the_key(
    server: str, admin: Any, shop: Path, command: Callable[..., Any], words: tuple[str, ...], key: str
) -> None:
    (shop / "one.py").write_text(ONE)
    assert command("send", "one:orders", '{"key":"a","n":0}', RUNNEL_REDIS_URL=server).returncode == 0
    admin.xgroup_create(LOG, "printer", "0")
    admin.delete(key)
    admin.rpush(key, "something else")
    done = command(*words, RUNNEL_REDIS_URL=server)
    assert done.returncode, done.stdout
    told = " ".join(f"{done.stdout} {done.stderr}".split())  # `status` tells it among what is not well
    assert f"{key} is a list, and" in told.replace(f"{key}: ", f"{key} "), told
    assert "Traceback" not in done.stderr
    assert admin.lrange(key, 0, -1) == [b"something else"]
