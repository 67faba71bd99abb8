"""Many records are encoded while the server works, but as they were when `send` was called."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from runnel_trio import App, Record, RecordInvalid, Stream


class Note(Record):
    key: int
    text: str


@pytest.fixture
def notes(app: App) -> Stream[Note]:
    return app.stream("notes", Note, "key", partition_count=16)


def many(text: str, count: int = 500) -> list[Note]:
    return [Note(key=key, text=text) for key in range(count)]


async def texts(notes: Stream[Note], stored: Any) -> dict[int, str]:
    return {x.key: x.text for found in (await stored(notes)).values() for _, x in found}


@pytest.mark.parametrize("size", [1, 100, 40_000])
async def test_what_is_done_to_a_record_during_a_send_is_not_seen(
    size: int, notes: Stream[Note], stored: Any
) -> None:
    await notes.send(Note(key=1000, text=""))
    records = many("o" * size)

    async def change() -> None:
        for record in records:
            record.text = "changed"
            record.key = -1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notes.send, *records)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(change)
    found = await texts(notes, stored)
    assert found == {1000: "", **dict.fromkeys(range(500), "o" * size)}


async def test_nor_during_a_send_that_waits_for_another(notes: Stream[Note], stored: Any) -> None:
    await notes.send(Note(key=1000, text=""))
    first, second = many("first"), many("second")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(notes.send, *first)
        nursery.start_soon(notes.send, *second)
        await trio.testing.wait_all_tasks_blocked()
        for record in [*first, *second]:
            record.text = "changed"
    assert set((await texts(notes, stored)).values()) <= {"", "first", "second"}


async def test_one_that_does_not_fit_is_refused_before_anything_leaves(
    notes: Stream[Note], stored: Any
) -> None:
    await notes.send(Note(key=1000, text=""))
    for bad in ("\ud800", 5):
        records = many("fits")
        records[-1].text = bad  # type: ignore[assignment]
        with pytest.raises(RecordInvalid, match="text"):
            await notes.send(*records)
    assert await texts(notes, stored) == {1000: ""}


async def test_one_that_is_too_large_reaches_the_sender_and_harms_no_later_send(
    app: App, stored: Any
) -> None:
    notes = app.stream("notes", Note, "key", partition_count=16, max_event_bytes=1000)
    await notes.send(Note(key=1000, text=""))
    records = many("x")
    records[250].text = "x" * 1000
    with pytest.raises(RecordInvalid, match="max_event_bytes"):
        await notes.send(*records)
    assert records[250].key not in await texts(notes, stored)
    await notes.send(*many("later"))
    assert set((await texts(notes, stored)).values()) == {"", "later"}
