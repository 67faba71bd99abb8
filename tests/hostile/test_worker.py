"""A worker that meets what cannot be read does as its policy says, and goes on with the rest."""

from __future__ import annotations

import gzip
from typing import Any

import lz4.frame
import pytest
import trio
from trio.testing import MockClock

from runnel_trio import LZ4, App, DeserializationError, ExceptionPolicy, Gzip, JSONSerializer, Record
from runnel_trio._broker._values import Batch

GOOD = b'{"key":"a","n":1}'
#: Of each kind one; each stands alone in its partition, before a good one.
HOSTILE: dict[str, tuple[tuple[bytes, ...], list[bytes]]] = {
    "wrong-field": ((b"what",), [GOOD]),
    "binary-names": ((b"\xff\x00", b""), [GOOD, b"\xff"]),
    "no-json": ((b"data",), [b"\x80\x04\x95."]),
    "no-utf-8": ((b"data",), [b'{"key":"\xff","n":1}']),
    "half-a-character": ((b"data",), [b'{"key":"\\ud800","n":1}']),
    "wrong-types": ((b"data",), [b'{"key":1,"n":"1"}']),
    "huge-number": ((b"data",), [b'{"key":"a","n":' + b"9" * 5000 + b"}"]),
    "not-a-number": ((b"data",), [b'{"key":"a","n":NaN}']),
    "deep": ((b"data",), [b"[" * 100_000]),
    "too-large": ((b"data",), [b'{"key":"' + b"a" * 20_000 + b'","n":1}']),
}


@pytest.fixture
def app() -> App:
    return App("test", redis_url="memory://", default_max_event_bytes=10_000)


class Order(Record):
    key: str
    n: int


def cases() -> list[Any]:
    found = [pytest.param(None, *entry, id=name) for name, entry in HOSTILE.items()]
    for compressor, ours, theirs in (
        (Gzip(), gzip.compress, lz4.frame.compress),
        (LZ4(), lz4.frame.compress, gzip.compress),
    ):
        values = {
            "not-compressed": GOOD,
            "compressed-otherwise": theirs(GOOD),
            "cut-off": ours(GOOD)[:-6],
            "bomb": ours(GOOD + b" " * 20_000),
        }
        found += [
            pytest.param(compressor, (b"data",), [value], id=f"{type(compressor).__name__}-{name}")
            for name, value in values.items()
        ]
    return found


@pytest.mark.parametrize(("compressor", "names", "values"), cases())
@pytest.mark.parametrize("policy", ExceptionPolicy)
async def test_what_cannot_be_read_is_left_to_the_policy_and_the_worker_goes_on(
    app: App, policy: ExceptionPolicy, compressor: Any, names: tuple[bytes, ...], values: list[bytes],
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    orders = app.stream("orders", Order, "key", JSONSerializer(compressor), partition_count=2)
    good, handled = compressor.compress(GOOD) if compressor else GOOD, set()

    @app.processor(orders, exception_policy=policy)
    async def handle(events: Any) -> None:
        async for order in events.records():
            handled.add((events.partition.number, order.n))

    async with app.session(), app._shared.used() as broker:
        for number, batch in (
            (0, Batch(names, values)),
            (0, Batch((b"data",), [good])),
            (1, Batch((b"data",), [good])),
        ):
            await broker.append(orders.spec, {number: batch})
        if policy is ExceptionPolicy.HALT:
            with pytest.raises(DeserializationError, match=r"cannot read entry orders\[0\] ") as halted:
                await app.run()
            assert str(halted.value).isprintable()
            return
        async with app.worker() as worker:
            await trio.sleep(5)
        stands = [why.partition for why in await handle.quarantined()]
    ignored = policy is ExceptionPolicy.IGNORE
    assert handled == ({(0, 1), (1, 1)} if ignored else {(1, 1)})
    assert stands == ([] if ignored else [0])
    assert worker.counts["handle", "ignored" if ignored else "quarantined"] == 1
