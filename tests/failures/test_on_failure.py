"""Links that decide what becomes of events that have failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Failure, Middleware, Misconfigured, Retry, Stream
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

Facts = Callable[[str], list[dict[str, Any]]]
Drained = Callable[[Any], Awaitable[None]]


class Rule(Middleware):
    """Decides as it is told to, and remembers what it was asked about."""

    def __init__(self, answer: Callable[[Failure], Any]) -> None:
        self.answer = answer
        self.asked: list[Failure] = []

    def on_failure(self, failure: Failure) -> Any:
        self.asked.append(failure)
        return self.answer(failure)


class Link(Rule):
    """A rule that stands in the chain as well, and fails itself with some events."""

    def __init__(self, answer: Callable[[Failure], Any], fails_with: int = -1) -> None:
        super().__init__(answer)
        self.fails_with = fails_with

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async for event in parent:
            if event.record().n == self.fails_with:
                raise LookupError(event.record().n)
            yield event


def undecided(failure: Failure) -> None:
    """Leave it to others."""


@pytest.fixture
def run(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> Callable[..., Awaitable[list[int]]]:
    """Run a processor that fails with event 1 some times; what it was given, in order."""

    async def through(*links: Middleware, fails: float = 1, policy: str = "quarantine") -> list[int]:
        given: list[int] = []

        @app.processor(orders, middleware=list(links), exception_policy=policy)
        async def book(events: Any) -> None:
            async for record in events.records():
                given.append(record.n)
                if record.n == 1 and given.count(1) <= fails:
                    raise ValueError(record.n)

        async with app.worker():
            await orders.send(*(order(key="a", n=n) for n in range(3)))
            await drained(book)
        return given

    return through


async def test_a_retry_hands_the_event_out_again_in_order(run: Any) -> None:
    rule = Rule(lambda failure: Retry(5.0))
    assert await run(rule, fails=3) == [0, 1, 1, 1, 1, 2]
    assert [(x.attempt, x.stream, len(x.events)) for x in rule.asked] == [(n, "orders", 1) for n in (1, 2, 3)]
    assert [x.events[0].record().n for x in rule.asked] == [1, 1, 1]
    assert str(rule.asked[0].error) == "1"


async def test_a_policy_of_its_own_beats_that_of_the_processor(run: Any) -> None:
    assert await run(Rule(lambda failure: ExceptionPolicy.IGNORE), policy="halt") == [0, 1, 2]


async def test_the_first_that_decides_is_followed(run: Any) -> None:
    first, second = Rule(lambda failure: ExceptionPolicy.IGNORE), Rule(lambda failure: ExceptionPolicy.HALT)
    assert await run(Rule(undecided), first, second) == [0, 1, 2]


@pytest.mark.parametrize("before", [False, True])
async def test_a_retry_beats_the_others_wherever_it_stands_and_letters_are_of_the_last_try(
    run: Any, app: App, before: bool
) -> None:
    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))
    retry = RetryMiddleware(attempts=3)
    assert await run(*((dead, retry) if before else (retry, dead)), fails=9) == [0, 1, 1, 1, 2]
    async with app.session():
        assert [x.record.error for x in await dead.letters() if isinstance(x.record, Dead)] == [
            "ValueError: 1"
        ]


async def test_a_rule_that_is_no_link_costs_an_event_nothing(app: App, run: Any) -> None:
    seen: list[Any] = []

    class Looking(Link):
        async def handler(
            self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any
        ) -> AsyncIterator[Any]:
            async for event in parent:
                seen.append([type(link) for link, _ in events._links])
                yield event

    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))
    await run(Rule(undecided), dead, Looking(undecided), RetryMiddleware(), fails=0)
    assert [x.__name__ for x in seen[0]] == ["Looking", "Deliver"]


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_a_link_knows_whether_what_failed_is_behind_it(run: Any, place: int) -> None:
    links = [Link(undecided), Link(undecided), Link(undecided)]
    links[place].fails_with = 1
    last = Rule(lambda failure: ExceptionPolicy.IGNORE)
    await run(*links, last, fails=0)
    (failure,) = last.asked
    assert isinstance(failure.error, LookupError)
    assert [failure.is_behind(link) for link in links] == [n < place for n in range(3)]
    assert not failure.is_behind(last)


async def test_what_the_function_raises_is_behind_all(run: Any) -> None:
    links = [Link(undecided), Rule(lambda failure: ExceptionPolicy.IGNORE), Link(undecided)]
    await run(*links)
    assert all(links[1].asked[0].is_behind(link) for link in links)


def broken(failure: Failure) -> None:
    raise ZeroDivisionError("no idea")


@pytest.mark.parametrize(
    ("answer", "why"),
    [(broken, "ZeroDivisionError: no idea"), (lambda failure: "ignore", "'ignore' is no decision")],
    ids=["raises", "says something else"],
)
async def test_a_rule_that_fails_itself_is_told_of_and_has_not_decided(
    run: Any, facts: Facts, answer: Any, why: str
) -> None:
    assert await run(Rule(answer), policy="ignore") == [0, 1, 2]
    (told,) = facts("not-decided")
    assert (told["link"], told["error"]) == ("Rule", why)


async def test_nobody_is_asked_where_no_event_can_be_blamed(
    app: App, orders: Stream[Any], autojump_clock: MockClock
) -> None:
    rule = Rule(lambda failure: ExceptionPolicy.IGNORE)

    @app.processor(orders, middleware=[rule])
    async def broken(events: Any) -> None:
        raise Misconfigured("before the loop")

    async with app.session():
        await orders.send(orders.record(key="a", n=1))
        with pytest.raises(Misconfigured, match="before the loop"):
            await app.run()
    assert not rule.asked
