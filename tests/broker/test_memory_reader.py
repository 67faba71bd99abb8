"""A reader in memory hears of whatever is stored, in whichever moment of its read."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._values import Batch, ProcessorSpec, StreamSpec
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.constants import Overflow

STREAM = StreamSpec(
    app="app", name="orders", partition_count=1, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip


@pytest.mark.parametrize("passes", range(8))
async def test_it_misses_nothing_that_is_stored_while_it_is_about_to_wait(
    passes: int, autojump_clock: MockClock
) -> None:
    broker = MemoryBroker()
    reader = broker.reader(ProcessorSpec(stream=STREAM, name="printer"), 1000.0)
    found = {}

    async def read() -> None:
        found.update(await reader.read({0: ORIGIN}, 10))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            for _ in range(passes):
                await trio.lowlevel.checkpoint()
            await broker.append(STREAM, {0: Batch((b"data",), [b"x"])})
    assert len(found[0]) == 1
