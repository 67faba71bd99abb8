"""The line of a failure names its place once, whatever the error says by itself."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, DeserializationError, Poisoned, Record, Stream
from runnel_trio._report._traceback import said_elsewhere, shown_at


class Wide(Record):
    """As `Order` was, before it had another type for ``n``."""

    key: str
    n: str


@pytest.mark.parametrize("policy", ["ignore", "quarantine", "halt"])
async def test_an_entry_that_cannot_be_read_is_told_with_its_place_once(
    caplog: pytest.LogCaptureFixture, app: App, order: type[Any], autojump_clock: MockClock, policy: str
) -> None:
    caplog.set_level("ERROR", "runnel_trio")
    orders: Stream[Any] = app.stream("orders", order, partition_by="key", partition_count=1)

    @app.processor(orders, exception_policy=policy)
    async def book(events: Any) -> None:
        async for _ in events.records():
            pass

    wide = Wide(key="a", n="x")
    other = App("other", redis_url="memory://").stream("w", Wide, partition_by="key")
    orders.codec.values, kept = other.codec.values, orders.codec.values
    await orders.send(wide)
    orders.codec.values = kept

    with trio.fail_after(60):
        if policy == "halt":
            with pytest.raises(DeserializationError, match=r"cannot read entry orders\[0\] \S+: n: "):
                await app.run()
        else:
            async with app.worker():
                while not caplog.records:
                    await trio.sleep(0.1)
    (line,) = [x.getMessage() for x in caplog.records]
    assert line.count("orders[0]") == 1
    assert """error=DeserializationError("cannot read entry: n: expected int, got str 'x'")""" in line
    if policy == "quarantine":
        (standing,) = await book.quarantined()
        assert standing.error.startswith("DeserializationError: cannot read entry ")
        assert "orders[0]" not in standing.error


def test_the_id_is_left_out_only_where_it_is_told() -> None:
    error, poison = DeserializationError("s", 1, "17-0", "", "no JSON"), Poisoned("s", 1, "17-0", 3)
    assert shown_at(error, "17-0") == "DeserializationError('cannot read entry: no JSON')"
    assert shown_at(error, "16-0") == "DeserializationError('cannot read entry 17-0: no JSON')"
    assert shown_at(poison, "17-0").startswith("Poisoned('3 workers ended")
    assert shown_at(poison, "16-0").startswith("Poisoned('17-0: 3 workers ended")
    assert said_elsewhere(error) == "DeserializationError: cannot read entry 17-0: no JSON"
    assert said_elsewhere(ValueError("s[1] 17-0: mine")) == "ValueError: s[1] 17-0: mine"
