"""The pytest plugin, as a user's suite has it: in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runnel_trio.testing._databases import with_database

SHOP = """
from runnel_trio import App, Events, Record

app = App("shop", redis_url="redis://127.0.0.1:1")  # nobody is there
class Order(Record):
    customer: str
    amount: int
orders = app.stream("orders", Order, "customer", partition_count=4)
spent = {}
@app.processor(orders)
async def totals(events: Events[Order]):
    async for order in events.records():
        spent[order.customer] = spent.get(order.customer, 0) + order.amount
"""

TESTS = """
import pytest, redis, trio
from shop import Order, app, orders, spent
from runnel_trio import App

@pytest.mark.parametrize("turn", range(3))
async def test_a_worker(turn, runnel_worker, drained):
    spent.clear()
    await runnel_worker(app)
    await runnel_worker(app)
    await orders.send(*(Order(customer="Ada", amount=1) for _ in range(100)))
    await drained(app)
    assert spent == {"Ada": 100}

async def test_sends_alone(runnel_worker, runnel_app_settings):
    runnel_worker.use(app)
    await orders.send(Order(customer="Ada", amount=1))
    keys = redis.Redis.from_url(runnel_app_settings["redis_url"]).keys("runnel:*:log")
    assert len(keys) == 1

async def test_an_app_of_its_own(runnel_app_settings, nursery):
    mine = App("mine", **runnel_app_settings)
    assert redis.Redis.from_url(runnel_app_settings["redis_url"]).dbsize() == 0
    seen = mine.stream("seen", Order, "customer")
    async with mine.session():
        await seen.send(Order(customer="Bo", amount=2))

def test_the_app_has_its_own_server_back():
    assert app.settings.redis_url == "redis://127.0.0.1:1"
"""

HALTS = """
import trio
from shop import Order, app, orders

async def test_it(runnel_worker):
    @app.processor(orders, name="bad")
    async def bad(events):
        async for order in events:
            raise ValueError("made to fail")
    await runnel_worker(app, processors=["bad"])
    await orders.send(Order(customer="Ada", amount=1))
    await trio.sleep(60)
"""

VIRTUAL = """
import pytest
from runnel_trio import Misconfigured
from shop import app

async def test_it(runnel_worker, autojump_clock):
    with pytest.raises(Misconfigured, match="needs real time"):
        await runnel_worker(app)
"""


@pytest.fixture
def suite(tmp_path: Path) -> Any:
    """Run pytest over files, as a user would."""

    # The outer pytest may be a worker of pytest-xdist, which the inner one is not.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}

    def run(*arguments: str, **files: str) -> str:
        (tmp_path / "pytest.ini").write_text(
            "[pytest]\ntrio_mode = true\npythonpath = .\nfilterwarnings = error\n"
        )
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        command = [sys.executable, "-X", "dev", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=100, env=ours
        )
        return done.stdout + done.stderr

    return run


def test_workers_run_beside_tests_end_those_that_fail_and_refuse_virtual_time(suite: Any) -> None:
    said = suite(shop=SHOP, test_shop=TESTS, test_stops=HALTS, test_virtual=VIRTUAL)
    assert "1 failed, 7 passed" in said
    assert "ValueError: made to fail" in said
    assert "FAILED test_stops.py::test_it" in said


def test_each_process_of_xdist_has_a_server_that_comes_along(suite: Any) -> None:
    assert "6 passed" in suite("-n", "2", shop=SHOP, test_shop=TESTS)


def test_a_given_server_is_used_and_must_be_empty(suite: Any, runnel_server: str) -> None:
    url = with_database(runnel_server, 14)
    used = """
async def test_it(runnel_app_settings):
    assert runnel_app_settings["redis_url"].endswith("db=14")
"""
    assert "1 passed" in suite(f"--runnel-redis-url={url}", test_given=used)
    import redis

    with redis.Redis.from_url(url) as client:
        client.set("precious", 1)
        assert "has 1 key, and tests delete everything" in suite(f"--runnel-redis-url={url}", test_given=used)
        assert client.get("precious") == b"1"
        client.flushdb()


def test_a_session_that_does_not_use_it_does_not_import_it(suite: Any) -> None:
    said = suite(
        test_other="""
import sys

def test_it():
    assert "pytest_runnel_trio" in sys.modules
    assert not [name for name in sys.modules if name.partition(".")[0] in ("runnel_trio", "redis", "cattrs")]
"""
    )
    assert "1 passed" in said
