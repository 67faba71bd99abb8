"""What a log record of the user's says of the event in hand, in a program that embeds a worker."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from runnel_trio import App, LogContext, Record, log_context


class Order(Record):
    key: str


async def test_a_record_tells_whose_event_was_in_hand_and_outside_of_handlers_nothing() -> None:
    app = App("shop", redis_url="memory://", default_partition_count=1)
    orders = app.stream("orders", Order, partition_by="key")
    seen: list[Any] = []

    @app.processor(orders)
    async def book(events: Any) -> None:
        seen.append(log_context()["xid"])
        async for event in events:
            seen.append((event.xid.decode(), log_context(), await trio.to_thread.run_sync(log_context)))

    with trio.fail_after(60):
        async with app.worker() as worker:
            await orders.send(Order(key="a"), Order(key="b"))
            while len(seen) < 3:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert log_context() == {}
    assert seen.pop(0) is None, "between two events"
    for xid, found, threaded in seen:
        wanted = {"member": worker.member, "processor": "book", "partition": 0, "xid": xid}
        assert found == threaded == wanted


async def test_a_record_of_a_task_a_timer_or_a_crontab_tells_which_it_was(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = App("shop", redis_url="memory://")
    seen: dict[str, Any] = {}

    @app.task
    async def once() -> None:
        seen["once"] = log_context(), await trio.to_thread.run_sync(log_context)

    @app.timer(interval=5)
    async def often() -> None:
        seen["often"] = log_context()
        raise ValueError

    @app.crontab("* * * * *", on_leader=True)
    async def led() -> None:
        seen["led"] = log_context()

    caplog.handler.addFilter(LogContext())
    async with app.worker() as worker:
        await trio.sleep(70)
    about = {name: {"member": worker.member, "function": name} for name in ("once", "often", "led")}
    assert seen == {"once": (about["once"],) * 2, "often": about["often"], "led": about["led"]}
    (failed, *_) = [x for x in caplog.records if getattr(x, "fact", "") == "background-failed"]
    assert (failed.function, failed.processor) == ("often", None)  # type: ignore[attr-defined]


def test_the_filter_leaves_what_a_record_has_already() -> None:
    record = logging.makeLogRecord({"partition": 7})
    assert LogContext().filter(record)
    assert (record.partition, record.processor, record.xid) == (7, None, None)  # type: ignore[attr-defined]
