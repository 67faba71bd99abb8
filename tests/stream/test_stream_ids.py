"""Ids that senders give."""

from __future__ import annotations

from typing import Any

import pytest

from runnel_trio import Misconfigured, Stream
from runnel_trio._rules._cursor import parse_id

LAST = f"{2**64 - 1}-{2**64 - 1}"


@pytest.fixture
def a_key(order: Any) -> Any:
    """So many orders of one key."""
    return lambda count: [order(key="a", n=n) for n in range(count)]


async def ids(stored: Any, orders: Stream[Any]) -> list[bytes]:
    return [xid for entries in (await stored(orders)).values() for xid, _ in entries]


@pytest.mark.parametrize(
    "given",
    [
        ["5-1", "5-2", "9-0"],
        [b"5-1", b"5-2", b"9-0"],
        ("0-1", "0-2", LAST),
        ["9-999999999999", "10-5", "100-0"],
        ["9007199254740993-9007199254740993", "9007199254740993-9007199254740994", "9007199254740994-0"],
    ],
)
async def test_given_ids_are_kept(orders: Stream[Any], a_key: Any, stored: Any, given: Any) -> None:
    await orders.send(*a_key(3), stream_ids=given)
    assert await ids(stored, orders) == [x.encode() if isinstance(x, str) else x for x in given]


async def test_any_iterable_will_do(orders: Stream[Any], a_key: Any, stored: Any) -> None:
    await orders.send(*a_key(3), stream_ids=(f"{n}-1" for n in range(3)))
    assert await ids(stored, orders) == [b"0-1", b"1-1", b"2-1"]


async def test_a_star_leaves_the_choice_to_the_server(orders: Stream[Any], a_key: Any, stored: Any) -> None:
    await orders.send(*a_key(5), stream_ids=["5-1", "6-1", "*", "*", "9999999999999-7"])
    found = await ids(stored, orders)
    assert (found[:2], found[4]) == ([b"5-1", b"6-1"], b"9999999999999-7")
    assert parse_id(b"6-1") < parse_id(found[2]) < parse_id(found[3])
    assert [record.n for _, record in next(iter((await stored(orders)).values()))] == [0, 1, 2, 3, 4]


async def test_ids_need_to_rise_within_a_partition_only(orders: Stream[Any], order: Any, stored: Any) -> None:
    keys = "abcdefgh"
    records = [order(key=key, n=n) for n, key in enumerate(keys)]
    numbers = [orders.partition_of(record) for record in records]
    given = [f"{1 + numbers[:at].count(number)}-0" for at, number in enumerate(numbers)]
    await orders.send(*records, stream_ids=given)
    assert len(await ids(stored, orders)) == len(keys)


async def test_an_id_written_otherwise_is_that_id(orders: Stream[Any], a_key: Any, stored: Any) -> None:
    await orders.send(*a_key(3), stream_ids=["05-1", "5-02", "06-00"])
    assert await ids(stored, orders) == [b"5-1", b"5-2", b"6-0"]


WRONG = [
    "", "x", "5", "-1-1", "5-", "-5", "5-*", "5-1-1", " 5-1", "5-1\n", "5.0-1", "+5-1", "0-0", "$", ">", 5, None,
    "18446744073709551616-0", "5-18446744073709551616", "99999999999999999999-1", "\N{ARABIC-INDIC DIGIT FIVE}-1",
]  # fmt: skip


async def test_what_is_no_id_is_refused_and_nothing_is_sent(
    orders: Stream[Any], a_key: Any, stored: Any
) -> None:
    for wrong in WRONG:
        for given in (["1-1", wrong], [wrong, "99999-1"]):
            with pytest.raises(Misconfigured) as caught:
                await orders.send(*a_key(2), stream_ids=given)
            assert str(wrong).strip() in str(caught.value)
    assert await ids(stored, orders) == []


async def test_as_many_ids_as_records(orders: Stream[Any], a_key: Any, stored: Any) -> None:
    for count in (0, 1, 3):
        with pytest.raises(Misconfigured, match=rf"given 2 records, and {count} as stream_ids"):
            await orders.send(*a_key(2), stream_ids=[f"{n}-1" for n in range(count)])
    with pytest.raises(Misconfigured, match="given 0"):
        await orders.send(stream_ids=["1-1"])
    assert await ids(stored, orders) == []


async def test_ids_that_do_not_rise_are_refused_and_nothing_is_sent(
    orders: Stream[Any], a_key: Any, stored: Any
) -> None:
    for given in (["5-1", "5-1"], ["5-1", "5-0"], ["6-0", "5-9"], ["5-01", "5-1"], ["10-0", "9-0"]):
        with pytest.raises(Misconfigured, match="is not above .* Nothing was sent"):
            await orders.send(*a_key(2), stream_ids=given)
    assert await ids(stored, orders) == []


async def test_ids_that_do_not_rise_far_behind_are_refused_and_nothing_is_sent(
    orders: Stream[Any], a_key: Any, stored: Any
) -> None:
    given = [f"{n}-1" for n in range(2500)]
    given[2400] = "7-1"
    with pytest.raises(Misconfigured, match="7-1"):
        await orders.send(*a_key(2500), stream_ids=given)
    assert await ids(stored, orders) == []


async def test_an_id_that_is_not_above_the_last_stored_is_refused(
    orders: Stream[Any], a_key: Any, stored: Any
) -> None:
    await orders.send(*a_key(1), stream_ids=["5-1"])
    for given in ("5-1", "5-0", "4-9"):
        with pytest.raises(Misconfigured, match=rf"{given} is not above 5-1"):
            await orders.send(*a_key(1), stream_ids=[given])
    assert await ids(stored, orders) == [b"5-1"]
    await orders.send(*a_key(1), stream_ids=["5-2"])
    assert await ids(stored, orders) == [b"5-1", b"5-2"]


async def test_behind_the_last_possible_id_nothing_can_be_stored(
    orders: Stream[Any], a_key: Any, stored: Any
) -> None:
    await orders.send(*a_key(1), stream_ids=[LAST])
    with pytest.raises(Misconfigured):
        await orders.send(*a_key(1), stream_ids=["5-1"])
    assert await ids(stored, orders) == [LAST.encode()]
