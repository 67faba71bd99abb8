"""Tasks that end together: what each returned or raised, in their order, and in no group."""

from __future__ import annotations

from functools import partial

import outcome
import pytest
import trio

from runnel_trio._scopes import gather


async def after(turns: int, result: int | Exception) -> int:
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    if isinstance(result, Exception):
        raise result
    return result


ERROR = ValueError("two")


@pytest.mark.parametrize("turns", [(0, 0, 0), (5, 3, 1), (1, 5, 3)])
async def test_outcomes_come_in_the_order_of_the_tasks(turns: tuple[int, int, int]) -> None:
    results: list[int | Exception] = [1, ERROR, 3]
    found = await gather(partial(after, *each) for each in zip(turns, results, strict=True))
    assert found == [outcome.Value(1), outcome.Error(ERROR), outcome.Value(3)]


async def test_a_cancellation_ends_them_all() -> None:
    with trio.move_on_after(0) as scope:
        await gather([trio.sleep_forever, partial(after, 0, 1)])
    assert scope.cancelled_caught
