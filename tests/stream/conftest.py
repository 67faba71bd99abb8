"""Sends on both brokers, and what is stored then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio

from runnel_trio import App, Stream
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._rules._cursor import ORIGIN

Stored = Callable[[Stream[Any]], Awaitable[dict[int, list[tuple[bytes, Any]]]]]


@pytest.fixture(params=["memory://", "embedded://"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[App]:
    """An app in session, on either broker."""
    app = App("test", redis_url=request.param, default_partition_count=4)
    async with app.session():
        yield app


@pytest.fixture
def stored() -> Stored:
    """Ids and records of every partition that has any."""

    async def read(stream: Stream[Any]) -> dict[int, list[tuple[bytes, Any]]]:
        with trio.fail_after(60):
            async with stream.connect(stream) as broker:
                reader = broker.reader(ProcessorSpec(stream=stream.spec, name="look"), 0.02)
                everywhere = dict.fromkeys(range(stream.partition_count), ORIGIN)
                found = await reader.read(everywhere, 1_000_000)
                await reader.aclose()
        decode = stream.codec.decode
        return {
            number: [(xid, decode(fields)) for xid, fields in entries] for number, entries in found.items()
        }

    return read
