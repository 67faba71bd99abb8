"""A worker that is told to stop while it starts ends, whichever answer has just come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream
from runnel_trio._broker import _connection
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._worker import _worker

#: What a worker asks the server for before it owns a partition.
VERBS = ["declare", "create_groups", "layouts", "beat", "plan", "acquire"]
ENDS = ["stop", "abort", "halt", "cancel"]


class Answers:
    """Acts in the moment in which an answer comes: it can no longer be called back, and nobody has seen it yet."""

    def __init__(self, inner: MemoryBroker, verb: str, call: int) -> None:
        self._inner, self._verb, self._left = inner, verb, call
        self.act: Any = None
        self.acted = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._around(found) if name == self._verb else found

    def _around(self, verb: Any) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            answer = await verb(*arguments, **named)
            self._left -= 1
            if self._left == 0:
                self.acted = True
                self.act()
                for _ in range(3):  # the answer is under way through Trio
                    await trio.lowlevel.cancel_shielded_checkpoint()
            return answer

        return call


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("verb", VERBS)
async def test_it_ends_in_whichever_moment_it_is_told(
    monkeypatch: pytest.MonkeyPatch, order: Any, verb: str, call: int, end: str, autojump_clock: MockClock
) -> None:
    broker = Answers(MemoryBroker(), verb, call)

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Any]:
        yield broker

    monkeypatch.setattr(_connection, "open_broker", opened)
    app = App("test", redis_url="memory://")
    orders: Stream[Any] = app.stream("orders", order, partition_by="key")

    @app.processor(orders)
    async def idle(events: Any) -> None:
        async for _ in events:
            pass

    run, workers, late = _worker.Worker.run, [], False

    async def watched(worker: Any, **named: Any) -> None:
        workers.append(worker)
        broker.act = {
            "stop": worker.stop,
            "abort": worker.abort,
            "halt": lambda: worker.halt(ValueError("enough")),
            "cancel": scope.cancel,
        }[end]
        await run(worker, **named)

    async def lose_patience() -> None:
        nonlocal late
        await trio.sleep(600)
        late = True
        workers[0].stop()

    monkeypatch.setattr(_worker.Worker, "run", watched)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lose_patience)
        with trio.CancelScope() as scope, suppress(ValueError):
            await app.run()
        nursery.cancel_scope.cancel()
    assert late is not broker.acted, "one that is alone does not ask for everything twice, and runs on"
