"""Exceptions that cannot be described: whoever handles a failure does not fail at telling it."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._cli._errors import ended
from runnel_trio._cli._logging import Console, JSONLines
from runnel_trio._report._telemetry import report
from runnel_trio._report._traceback import formatted, note
from runnel_trio._report._words import described, summary
from runnel_trio.middleware import Dead, DeadLetterMiddleware

Wait = Callable[[Any], Awaitable[None]]


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no str")


class Nothing(NoText):
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class NoString(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307  (that is the fault)


class Texts(str):  # noqa: SLOT000  (of a user who does not care)
    def __str__(self) -> str:
        raise RuntimeError("not even this")


class OddText(Exception):
    def __str__(self) -> str:
        return Texts("odd")


class OddNotes(Exception):
    __notes__ = 5  # type: ignore[assignment]


class Recursive(Exception):
    def __repr__(self) -> str:
        return repr(self)

    __str__ = __repr__


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int = 1


def chain() -> Exception:
    """As a loop leaves it that tries again and again, and raises each time over what it had."""
    error: Exception = ValueError(0)
    for n in range(5000):
        over = ValueError(n)
        over.__context__ = error
        error = over
    return error


MAKE: dict[str, Callable[[], Exception]] = {
    "str raises": NoText,
    "str and repr raise": Nothing,
    "str gives no text": NoString,
    "str gives an odd text": OddText,
    "recursive": Recursive,
    "notes that are none": OddNotes,
    "frozen": Frozen,
    "half of a pair": lambda: ValueError("caf\udce9 \ud800"),
    "control characters": lambda: ValueError("a\0b\x1b[31m\r\nc"),
    "5 MB": lambda: ValueError("x" * 5_000_000),
    "a group of them": lambda: ExceptionGroup("all", [Nothing(), NoString(), ValueError("\ud800")]),
    "noted": lambda: _noted(ValueError(1)),
    "a long chain": chain,
}


def _noted(error: Exception) -> Exception:
    error.__notes__ = [Nothing(), "\ud800", None]  # type: ignore[list-item]
    return error


@pytest.fixture(params=MAKE.values(), ids=MAKE)
def make(request: pytest.FixtureRequest) -> Any:
    """Makes an exception."""
    return request.param


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """Each line that is logged can be written, for people and for machines."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    for record in caplog.get_records("call"):
        Console().format(record).encode()
        json.loads(JSONLines().format(record).encode())


async def test_what_cannot_be_described_can_be_ignored(
    make: Any, app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE)
    async def fragile(events: Any) -> None:
        async for record in events.records():
            if record.n == 1:
                raise make()

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    async with app.worker() as worker:
        await drained(fragile)
    assert worker.counts["fragile", "ignored"] == 1


async def test_what_cannot_be_described_is_quarantined_with_what_can_be_said(
    make: Any, app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy=ExceptionPolicy.QUARANTINE)
    async def fragile(events: Any) -> None:
        async for _ in events:
            raise make()

    await orders.send(order(key="a", n=1))
    async with app.worker():
        with trio.fail_after(30):
            while not (standing := await fragile.quarantined()):
                await trio.sleep(0.01)
    (why,) = standing
    assert why.error.startswith(type(make()).__name__)
    assert len(why.traceback) < 110_000


async def test_what_cannot_be_described_becomes_a_letter(
    make: Any, app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))

    @app.processor(orders, middleware=[dead])
    async def fragile(events: Any) -> None:
        async for record in events.records():
            if record.n == 1:
                raise make()

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    async with app.worker():
        await drained(fragile)
        (letter,) = await dead.letters()
    assert isinstance(letter.record, Dead)
    assert letter.record.traceback


async def test_what_cannot_be_described_halts_the_worker_as_itself_and_is_noted_on_another(
    make: Any, autojump_clock: MockClock
) -> None:
    first, second = make(), make()
    worker = Worker(broker=MemoryBroker(), app="test")
    worker.halt(first)
    worker.halt(second)
    worker.halt(ValueError("another"))
    with pytest.raises(type(first)) as caught:
        await worker.run()
    assert caught.value is first


def test_the_command_line_ends_with_what_cannot_be_described(make: Any) -> None:
    end = ended(make())
    end.text.encode()
    assert end.blamed is not None
    formatted(end.blamed).encode()
    formatted(end.blamed, whole=True).encode()


def test_what_is_described_is_always_a_short_text_that_has_bytes(make: Any) -> None:
    for text in (summary(make()), described(make())):
        text.encode()
        assert len(text) < 2100


def test_a_fact_may_have_any_value(make: Any) -> None:
    report(logging.ERROR, "odd", value=make(), among=[make()])


def test_a_note_on_what_takes_none_is_left_out() -> None:
    error = Frozen()
    note(error, "more")
    assert "Frozen" in formatted(error)


def test_a_traceback_that_cannot_be_made_says_so() -> None:
    class Hostile(Exception):
        @property
        def __cause__(self) -> Any:  # type: ignore[override]
            raise LookupError("gone")

    text = formatted(Hostile("here"))
    assert "Hostile: here" in text
    assert "gone" in text
