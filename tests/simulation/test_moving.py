"""A stream gets other partitions under load, in hundreds of histories: each key's events in order, none lost.

As in `test_schedules`, a seed that fails replays alone::

    RUNNEL_SIM_SEED=7 pytest tests/simulation -k moving_replays
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sim_cluster import Wrong
from sim_layouts import simulate
from test_schedules import seeds

from runnel_trio._broker._memory import _catalog, _store
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._sending import _delivery
from runnel_trio._worker import _processor_runner, _worker

SCHEDULES = 10


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def caught(most: int = 40, first: int = 0) -> str:
    """What is wrong with the first schedule that fails; none of those before ``first`` does."""
    for seed in range(first, most):
        try:
            simulate(seed)
        except Wrong as wrong:
            return str(wrong)
    return ""


def test_moving_keeps_the_order_of_every_key_and_loses_nothing() -> None:
    assert caught(SCHEDULES) == ""


def test_a_seed_of_moving_replays_alone() -> None:
    for ran, seed in enumerate(seeds()):
        first = simulate(seed)
        assert ran or simulate(seed).trace == first.trace


def test_it_catches_workers_that_go_over_too_early(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(broker: Any, name: str, layouts: Any) -> list[ProcessorSpec]:
        return [ProcessorSpec(stream=layouts.current, name=name)]

    async def over(*_: Any) -> bool:
        return True

    monkeypatch.setattr(_processor_runner, "reads", at_once)
    monkeypatch.setattr(_processor_runner.ProcessorRunner, "_is_over", over)
    assert "is handed out, but only" in caught()


def test_it_catches_partitions_that_take_entries_for_any_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_store.Store, "takes", lambda *_: True)
    assert caught(first=9)


def test_it_catches_a_layout_that_is_opened_before_all_partitions_are_switched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    completed = _catalog.MemoryCatalog._completed

    async def too_early(self: Any, stream: Any, meta: Any) -> Any:
        if meta.next is None:
            return meta
        opened = await self._step(stream, lambda there: _catalog.opened(there, meta.next[0]))
        await completed(self, stream, meta)
        return opened

    monkeypatch.setattr(_catalog.MemoryCatalog, "_completed", too_early)
    assert caught()


def test_it_catches_senders_that_mix_up_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    each: Callable[..., Iterator[Any]] = _delivery.Pending.each
    monkeypatch.setattr(_delivery.Pending, "each", lambda self: reversed(list(each(self))))
    assert "is handed out, but only" in caught()


def test_it_catches_new_partitions_that_know_nothing_of_who_has_still_to_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nobody(*_: Any) -> dict[str, Any]:
        return {}

    async def declared(self: Any, stream: Any, names: Any, counts: Any = None) -> Any:
        return await self.declare(stream)

    monkeypatch.setattr(_worker, "subscribe", declared)
    monkeypatch.setattr(_catalog.MemoryCatalog, "create_groups", nobody)
    assert "is handed out, but only" in caught()


def test_it_catches_processors_that_the_server_hears_of_only_when_they_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_worker.Worker, "_names", lambda *_: [])
    assert "is handed out, but only" in caught()
