"""Sends that are not written as they must be: what is raised, warned of, or told by Python."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, Record, RecordInvalid, Stream


class Order(Record):
    key: str
    n: int


class Plain(Record, primitive=True):
    key: str
    n: int


@pytest.fixture(params=[Order, Plain])
def orders(request: pytest.FixtureRequest) -> Stream[Any]:
    return App("shop", redis_url="memory://").stream("orders", request.param, partition_by="key")


@pytest.mark.parametrize("count", [1, 70])
@pytest.mark.parametrize("kind", [list, tuple, iter, set])
def test_a_collection_in_place_of_records_is_refused_with_the_star(
    orders: Stream[Any], kind: Any, count: int
) -> None:
    given = kind([])
    with pytest.raises(RecordInvalid, match=r"write a \* before it"):
        trio.run(orders.send, *[given] * count)
    with pytest.raises(RecordInvalid, match=r"write a \* before it"):
        orders.send_sync(*[given] * count)
    with pytest.raises(RecordInvalid, match=r"write a \* before it"):
        orders.partition_of(given)


def test_a_mapping_or_the_class_is_refused_with_how_to_make_a_record(orders: Stream[Any]) -> None:
    name = orders.record.__name__
    with pytest.raises(RecordInvalid, match=rf"make a record of it, as in {name}\(\*\*…\)"):
        trio.run(orders.send, {"key": "a", "n": 1})
    with pytest.raises(RecordInvalid, match=rf"make a record of the class, as in {name}\(…\)"):
        trio.run(orders.send, orders.record)


def test_a_list_inside_a_record_has_nothing_to_do_with_the_star() -> None:
    class Basket(Record):
        key: str
        order: Order

    baskets = App("shop", redis_url="memory://").stream("baskets", Basket, partition_by="key")
    wrong: Any = [Order(key="a", n=1)]
    with pytest.raises(RecordInvalid, match="Basket.order: expected Order, got list") as caught:
        trio.run(baskets.send, Basket(key="a", order=wrong))
    assert "*" not in str(caught.value)


def test_send_sync_in_a_task_of_asyncio_warns_at_that_line() -> None:
    orders = App("shop", redis_url="memory://").stream("orders", Order, partition_by="key")

    async def handle() -> None:
        for n in range(3):
            orders.send_sync(Order(key="a", n=n))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        asyncio.run(handle())
    (warning,) = caught
    assert warning.filename == __file__
    assert "await asyncio.to_thread(stream.send_sync" in str(warning.message)


def test_send_sync_elsewhere_does_not_warn() -> None:
    orders = App("shop", redis_url="memory://").stream("orders", Order, partition_by="key")

    async def handle() -> None:
        await asyncio.to_thread(orders.send_sync, Order(key="a", n=1))

    async def in_trio() -> None:
        await trio.to_thread.run_sync(orders.send_sync, Order(key="a", n=1))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        orders.send_sync(Order(key="a", n=1))
        asyncio.run(handle())
        trio.run(in_trio)


@pytest.mark.parametrize(
    "command", [["-m", "shop"], ["-m", "runnel_trio", "run", "shop:app"]], ids=["script", "run"]
)
def test_a_send_without_await_is_told_with_its_line(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "shop.py").write_text(
        textwrap.dedent(
            """\
            import trio
            from runnel_trio import App, Record
            app = App("shop", redis_url="memory://")
            class Order(Record):
                key: str
            orders = app.stream("orders", Order, partition_by="key")
            @app.task
            async def ends():
                orders.send(Order(key="a"))
                raise SystemExit(0)
            if __name__ == "__main__":
                trio.run(ends)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert "shop.py:9: RuntimeWarning: coroutine 'Stream.send' was never awaited" in done.stderr
