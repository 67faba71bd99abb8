"""The exception policy of a processor, for each type of exception."""

from __future__ import annotations

from typing import Any

import pytest
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Misconfigured, Record
from runnel_trio.testing import Outcome


class Task(Record):
    key: str
    error: str = ""


class OurError(ValueError): ...


ERRORS: dict[str, type[Exception]] = {x.__name__: x for x in (OurError, ValueError, KeyError, OSError)}


def declare(policy: Any, **settings: Any) -> Any:
    app = App("test", default_partition_count=4, **settings)
    tasks = app.stream("tasks", Task, "key")

    @app.processor(tasks, exception_policy=policy)
    async def handle(events: Any) -> None:
        async for task in events.records():
            if task.error:
                raise ERRORS[task.error](task.key)

    return handle


@pytest.mark.parametrize(
    ("error", "default", "outcome"),
    [
        ("", "halt", Outcome.ACKED),
        ("OurError", "halt", Outcome.QUARANTINED),
        ("ValueError", "halt", Outcome.IGNORED),
        ("KeyError", "ignore", Outcome.IGNORED),
        ("OSError", "quarantine", Outcome.QUARANTINED),
    ],
)
async def test_the_first_type_that_it_is_counts_and_else_the_default(
    error: str, default: str, outcome: Outcome, autojump_clock: MockClock
) -> None:
    policies = {OurError: ExceptionPolicy.QUARANTINE, ValueError: "ignore"}
    handle = declare(policies, default_exception_policy=default)
    async with handle.test() as t:
        (result,) = await t.send(Task(key="a", error=error))
        assert result.outcome is outcome


async def test_one_that_halts_is_raised(autojump_clock: MockClock) -> None:
    handle = declare({ValueError: "ignore", Exception: "halt"})
    async with handle.test() as t:
        await t.send(Task(key="a", error="OurError"))
        with pytest.raises(KeyError):
            await t.send(Task(key="a", error="KeyError"))


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"ValueError": "ignore"}, r"'ValueError' is no type of exceptions; write them as in \{ValueError: \"ignore\""),
        ({BaseException: "ignore"}, "BaseException.* is no type of exceptions"),
        ({int: "ignore"}, "int.* is no type of exceptions"),
        ({Exception: "halt", OurError: "ignore"}, "OurError is never reached behind Exception, .* narrower type first"),
        ({ValueError: "skip"}, "exception_policy='skip' cannot be used: expected ExceptionPolicy, or one of halt"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(policy: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        declare(policy)


def test_without_types_there_is_one_policy() -> None:
    assert declare({}).exception_policy is ExceptionPolicy.HALT
    assert declare("ignore").exception_policy is ExceptionPolicy.IGNORE
