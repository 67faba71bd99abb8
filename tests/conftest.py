"""What many tests share: an app on the memory broker, and ways to look at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from runnel_trio import App, Processor, Record, Stream, testing


class Order(Record):
    """The record of most tests."""

    key: str
    n: int


Drained = Callable[..., Awaitable[None]]


@pytest.fixture
def app() -> App:
    """An app on a memory broker of its own."""
    return App("test", redis_url="memory://", default_partition_count=4)


@pytest.fixture
def order() -> type[Order]:
    """The class of `orders`' records."""
    return Order


@pytest.fixture
def orders(app: App) -> Stream[Order]:
    """A stream of four partitions, by key."""
    return app.stream("orders", Order, partition_by="key")


@pytest.fixture
def lag(app: App) -> Callable[[Processor[Any]], Awaitable[int]]:
    """How many events a processor has not acknowledged."""

    async def count(processor: Processor[Any]) -> int:
        async with app._shared.used() as broker:
            numbers = range(processor.stream.partition_count)
            states = await broker.examine(processor.spec, numbers)
        return sum(x.entries_added - x.entries_read for x in states if x is not None)

    return count


@pytest.fixture
def drained() -> Drained:
    """As the plugin's, with more time, for machines that do much else."""
    return partial(testing.drained, within=30)
