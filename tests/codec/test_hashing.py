"""Partition keys: distinct by type, equal when equal, and as published."""

from __future__ import annotations

import csv
import datetime as dt
import enum
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._codec import blake3_hasher, canonical_key
from runnel_trio.exceptions import Misconfigured

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "hashing.rst"


class Color(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Perm(enum.Flag):
    READ = 1
    WRITE = 2


NAMES = {"Decimal": Decimal, "UUID": UUID, "dt": dt, "Color": Color, "Level": Level, "Perm": Perm}


def published() -> list[list[str]]:
    """The rows of the table of test vectors."""
    lines = PAGE.read_text(encoding="utf-8").split(".. csv-table:: Test vectors")[1].splitlines()[1:]
    rows = [x.strip() for x in lines[: lines.index(".. end of the test vectors")]]
    found = csv.reader((x for x in rows if x and not x.startswith(":")), delimiter="|", skipinitialspace=True)
    return [[cell.strip().strip("`") for cell in row] for row in found]


VECTORS = published()


@pytest.mark.parametrize(("key", "canonical", "hashed", "partition"), VECTORS, ids=lambda x: x)
def test_the_published_vectors_hold(key: str, canonical: str, hashed: str, partition: str) -> None:
    value = eval(key, dict(NAMES))  # the page is ours
    assert canonical_key(value).hex() == canonical
    assert blake3_hasher(value) == int(hashed, 16)
    assert blake3_hasher(value) % 16 == int(partition)


def test_there_are_enough_of_them_and_no_two_alike() -> None:
    assert len(VECTORS) >= 20
    assert len({x[0] for x in VECTORS}) == len({x[1] for x in VECTORS}) == len(VECTORS)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.binary(max_size=3)
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.datetimes()
    | st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5))]))
    | st.dates()
    | st.sampled_from([Color.RED, Level.LOW, Perm.READ, Perm(3)])
)
KEYS = st.recursive(SCALARS, lambda x: st.lists(x, max_size=3).map(tuple), max_leaves=4)


def equal(one: Any, other: Any) -> bool:
    """Equal and of one type, in tuples too."""
    if type(one) is not type(other):
        return False
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


@given(one=KEYS, other=KEYS)
def test_keys_have_one_form_exactly_when_they_are_equal(one: Any, other: Any) -> None:
    assert (canonical_key(one) == canonical_key(other)) == equal(one, other)
    assert canonical_key((one, other)) != canonical_key(((one,), other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (0.0, -0.0),
        (float("nan"), -float("nan")),
        (Decimal("1.0"), Decimal("1")),
        (Decimal("0"), Decimal("-0.00")),
        (Decimal("100"), Decimal("1E2")),
        (dt.datetime(2024, 5, 1, tzinfo=dt.UTC), dt.datetime.fromisoformat("2024-05-01T05:00:00+05:00")),
        ("a", type("Text", (str,), {})("a")),
        ((1, "a"), type("Pair", (tuple,), {})((1, "a"))),
    ],
    ids=repr,
)
def test_equal_keys_go_together(one: Any, other: Any) -> None:
    assert canonical_key(one) == canonical_key(other)


@pytest.mark.parametrize(
    "key",
    [
        dt.datetime.max.replace(tzinfo=dt.timezone(-dt.timedelta(hours=23))),
        dt.datetime.min,
        10**1000,
        "\ud800",
    ],
)
def test_the_ends_of_the_ranges_have_a_form(key: Any) -> None:
    assert 0 <= blake3_hasher(key) < 2**64


@pytest.mark.parametrize(
    "key", [[1], {"a": 1}, {1}, object(), (1, [2]), range(3)], ids=lambda key: type(key).__name__
)
def test_another_type_is_refused_with_advice(key: Any) -> None:
    with pytest.raises(Misconfigured) as caught:
        canonical_key(key)
    inner = key[1] if isinstance(key, tuple) else key
    assert f"of type {type(inner).__name__} has no canonical form" in str(caught.value)
    assert "partition_by=lambda record:" in str(caught.value)


def test_another_process_agrees() -> None:
    """With another seed of Python's own hash."""
    code = "from runnel_trio._codec import blake3_hasher as h; print(h('N14228'), h((1, 'a', None)))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{blake3_hasher('N14228')} {blake3_hasher((1, 'a', None))}\n"}
