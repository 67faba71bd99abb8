"""The reference's examples say nothing of a server: here they all run in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from runnel_trio import App, Processor, Record

Handled = Callable[..., Awaitable[None]]


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """`App(name="example")` means the memory broker."""
    monkeypatch.setenv("RUNNEL_REDIS_URL", "memory://")


@pytest.fixture
def handled() -> Handled:
    """Send records, run a worker until its processor has acknowledged them all."""

    async def run(app: App, processor: Processor, *records: Record) -> None:
        async with app.worker():
            await processor.stream.send(*records)
            with trio.fail_after(60):
                while True:
                    async with app.operator() as op:
                        found = await op.positions(processor.name)
                    if all(x.begun and not x.lag for x in found):
                        break
                    await trio.sleep(0.05)

    return run
