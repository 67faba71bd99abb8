"""Carries out plans in virtual time, many or one by one, and finds out whether they catch what is made wrong."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any, Protocol, TypeVar

import attrs
import pytest
import trio
from trio.testing import MockClock

Change = Callable[[pytest.MonkeyPatch], None]


class Wrong(AssertionError):
    """Something was not as promised."""


class Trial(Protocol):
    """What carries out one plan, and writes down what happens."""

    trace: list[str]

    async def run(self) -> None: ...


T = TypeVar("T", bound=Trial)


def run_trial(plan: Any, make: Callable[[Any], T], seconds: float) -> T:
    """Carry out a plan; it may take so many seconds, in virtual time.

    Raises:
        Wrong: something was not as promised; with the whole history.
    """
    trials: list[T] = []

    async def main() -> None:
        random.seed(plan.order)
        trio._core._run._r.seed(plan.order)  # type: ignore[attr-defined]  # there is no public way
        trials.append(make(plan))
        with trio.fail_after(seconds):
            await trials[0].run()

    trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING = True
    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        wrongs = _wrongs(trials[0]) if trials else []
        story = "\n".join(trials[0].trace[-200:]) if trials else ""
        raise Wrong(f"{plan}\n{(wrongs or [repr(error)])[0]}\n{error!r}\n{story}") from error
    if wrongs := _wrongs(trials[0]):  # a worker has made of it what it makes of what a function raises
        raise Wrong(f"{plan}\n{wrongs[0]}\n" + "\n".join(trials[0].trace[-200:]))
    return trials[0]


def _wrongs(trial: Trial) -> list[str]:
    return [line for line in trial.trace if "WRONG" in line]


def _story(carry_out: Callable[[Any], Trial], random_plan: Callable[[int], Any], seed: int) -> str:
    """Of a schedule that went wrong; nothing of one that did not."""
    logging.disable()
    try:
        carry_out(random_plan(seed))
    except Wrong as wrong:
        return f"seed {seed}: {wrong}"
    return ""


@attrs.frozen
class Schedules:
    """The plans of one simulation, and what they must catch.

    Attributes:
        carry_out: carries out a plan; raises `Wrong`.
        random_plan: the plan of a seed.
        mutants: changes that make something wrong, plans that are tried first, and what is said then.
    """

    carry_out: Callable[[Any], Trial]
    random_plan: Callable[[int], Any]
    mutants: list[tuple[Change, list[Any], str]] = attrs.field(factory=list)

    def first_wrong(self, count: int) -> list[str]:
        """The story of the first of so many schedules that goes wrong, if one does."""
        story = partial(_story, self.carry_out, self.random_plan)
        with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
            return [told for told in pool.map(story, range(count), chunksize=20) if told][:1]

    def replay(self, seeds: Iterable[int]) -> int:
        """Carry out the plans of these seeds, the first one twice, alike; returns how many."""
        ran = 0
        for seed in seeds:
            first = self.carry_out(self.random_plan(seed))
            if ran == 0:
                assert first.trace == self.carry_out(self.random_plan(seed)).trace
            ran += 1
        return ran

    def mutant(self, *plans: Any, says: str) -> Callable[[Change], Change]:
        """One that a schedule must catch; these plans are tried first."""

        def add(change: Change) -> Change:
            self.mutants.append((change, list(plans), says))
            return change

        return add

    def caught(self, *plans: Any) -> str:
        """What is wrong with the first of these that fails, or of a hundred others."""
        for plan in [*plans, *map(self.random_plan, range(100))]:
            try:
                self.carry_out(plan)
            except Wrong as wrong:
                return str(wrong)
        return ""
