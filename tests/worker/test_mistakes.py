"""What beginners write: refused where it is declared, or raised with what to write."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Event, Events, Misconfigured, Record, Stream


class Shop(Record):
    key: str


async def ends_with(
    app: App, orders: Stream[Any], order: Any, function: Any, **options: Any
) -> BaseException:
    """What ends a worker whose processor gets an event."""
    app.processor(orders, **options)(function)
    await orders.send(order(key="a", n=1))
    with trio.fail_after(60), pytest.raises(Exception) as caught:
        await app.run()
    return caught.value


async def test_who_takes_an_event_for_its_record_is_told_of_records(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def book(events: Any) -> None:
        async for event in events:
            print(event.customer)

    error = await ends_with(app, orders, order, book)
    assert isinstance(error, AttributeError)
    said = str(error)
    assert said.startswith("'Event' object has no attribute 'customer': ")
    assert "`events.records()`" in said
    assert "`event.record().customer`" in said


async def test_who_takes_a_partitions_events_for_one_record_is_told_to_iterate(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def book(order: Any) -> None:
        print(order.amount)

    error = await ends_with(app, orders, order, book)
    assert "`async for order in events.records():`" in str(error)
    assert isinstance(error, AttributeError)


async def test_so_is_who_does_it_in_a_task_of_the_function(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def book(order: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0)
            print(order.amount)

    error = await ends_with(app, orders, order, book)
    assert isinstance(error, BaseExceptionGroup)
    assert "`async for order in events.records():`" in str(error.exceptions[0])


async def test_an_attribute_error_of_somebody_elses_is_left_as_it_is(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def book(events: Any) -> None:
        async for record in events.records():
            print(record.colour)

    assert str(await ends_with(app, orders, order, book)) == "'Order' object has no attribute 'colour'"


async def test_a_function_that_takes_no_event_is_told_to_iterate(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def book(order: Any) -> None:
        print(order)

    error = await ends_with(app, orders, order, book)
    assert isinstance(error, Misconfigured)
    assert "returned without taking an event" in str(error)
    assert "`async for order in events.records():`" in str(error)


async def _of_a_record(order: Shop) -> None: ...
async def _of_an_event(event: Event) -> None: ...
async def _of_nothing() -> None: ...
async def _of_two(events: Any, more: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (_of_a_record, "is annotated to take one Shop: it is called for a partition, with all its events"),
        (_of_an_event, "is annotated to take one Event"),
        (_of_nothing, "is called with one argument, the events of a partition"),
        (_of_two, "is called with one argument, the events of a partition"),
    ],
)
def test_a_function_that_takes_something_else_is_refused_where_it_is_declared(
    app: App, function: Any, why: str
) -> None:
    stream = app.stream("shops", Shop, partition_by="key")
    name = function.__name__
    for given in (function.__annotations__, {"order": Shop, "event": Event}):
        function.__annotations__ = given
        with pytest.raises(Misconfigured, match=rf"{why}.*`async def {name}\(events\):` \(.*:\d+\)"):
            app.processor(stream)(function)


def test_functions_that_take_a_partitions_events_are_taken(app: App) -> None:
    stream = app.stream("shops", Shop, partition_by="key")

    async def plain(events): ...  # type: ignore[no-untyped-def]
    async def typed(events: Events[Shop]) -> None: ...
    async def named(events: "Events[Shop]") -> None: ...  # noqa: UP037  # the text is what is tested
    async def wide(*events: Any, **more: Any) -> None: ...
    async def more(events: Any, url: str = "") -> None: ...

    class Books:
        async def book(self, events: Events[Shop]) -> None: ...

    for function in (plain, typed, named, wide, more, Books().book, partial(more, url="x")):
        app.processor(stream, name=f"p{len(app.processors)}")(function)
    assert len(app.processors) == 7


Wait = Callable[[Any], Awaitable[None]]


@pytest.mark.parametrize("n", ["3", True, 0, -1, 2.5, 3.0, None, float("nan"), float("inf")], ids=repr)
async def test_a_list_has_a_whole_number_of_events(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, n: Any
) -> None:
    async def book(events: Any) -> None:
        async for _ in events.take(n, within=1):
            pass

    error = await ends_with(app, orders, order, book)
    assert isinstance(error, Misconfigured)
    assert f"take({n!r}, within=1): n must be a whole number of events" in str(error)


@pytest.mark.parametrize("within", ["1", True, -1, None, float("nan"), float("inf")], ids=repr)
async def test_a_list_is_waited_for_so_many_seconds(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, within: Any
) -> None:
    async def book(events: Any) -> None:
        async for _ in events.take(3, within=within):
            pass

    error = await ends_with(app, orders, order, book)
    assert isinstance(error, Misconfigured)
    assert f"take(3, within={within!r}): within must be a number of seconds" in str(error)


@pytest.mark.parametrize("name", ["", " ", "a b", "{a}", "a:b", "a/b", "a\n", "\udcff", 3])
def test_a_name_that_cannot_be_in_a_key_is_refused_with_what_can(app: App, name: Any) -> None:
    async def book(events: Any) -> None: ...

    stream = app.stream("shops", Shop, partition_by="key")
    for declare in (
        lambda: App(name),
        lambda: app.stream(name, Shop, partition_by="key"),
        lambda: app.processor(stream, name=name)(book),
    ):
        with pytest.raises(
            Misconfigured, match=r"Letters, digits and signs|must be a text that is not empty"
        ):
            declare()


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Shop | None, "one class, and no union. Declare a stream for each"),
        (Shop | Event, "one class, and no union"),
        ("Shop", "is a text: give the class itself"),
        (Shop(key="a"), "is one record: give its class, Shop"),
        (list[Shop], "is no class of records"),
        (Record, "Record has no fields"),
        (dict, "dict is not a Record"),
        (None, "record=None is no class of records"),
    ],
)
def test_a_record_that_is_no_class_of_records_is_refused_where_it_is_declared(
    app: App, record: Any, why: str
) -> None:
    with pytest.raises(Misconfigured, match=why):
        app.stream("shops", record, partition_by="key")
