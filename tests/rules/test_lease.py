"""Who may take a lease, with what epoch, and for how long an owner believes in it."""

from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._lease import may_take, next_epoch, trusted_until
from runnel_trio._rules._overflow import accepted, slowest


def test_a_lease_is_taken_when_free_or_own_or_by_force_from_the_one_observed() -> None:
    assert may_take("", 7, "a", None)
    assert may_take("a", 7, "a", None)
    assert not may_take("b", 7, "a", None)
    assert may_take("b", 7, "a", ("b", 7))
    assert not may_take("b", 8, "a", ("b", 7))


@given(st.integers(0, 2**53), st.integers(0, 2**53))
def test_the_epoch_always_rises(previous: int, now: int) -> None:
    assert next_epoch(previous, now) == max(previous + 1, now)
    assert next_epoch(previous, now) > previous


@given(st.floats(0, 1e9), st.floats(0.1, 1e4))
def test_belief_ends_before_others_may_take(started: float, expiry: float) -> None:
    assert trusted_until(started, expiry) < started + expiry


@given(st.integers(0, 100), st.integers(0, 100), st.integers(1, 100))
def test_a_partition_never_takes_more_than_it_may_hold(offered: int, length: int, size: int) -> None:
    taken = accepted(offered, length, size)
    assert 0 <= taken <= offered
    assert taken == 0 or length + taken <= size


def test_the_slowest_cursor_bounds_what_may_go() -> None:
    assert slowest([b"10-0", b"9-1"]) == b"9-1"
    assert slowest([]) is None
