"""The steps from one layout to the next, whoever makes them, in whatever order, and however often."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._layout import Meta, begun, declared, disagreement, finished, opened

FIRST = Meta(4, "Order", "blake3")
LAYOUTS, COUNTS = st.integers(1, 4), st.integers(1, 9)
STEPS = st.one_of(
    st.tuples(st.just("begun"), LAYOUTS, COUNTS),
    st.tuples(st.just("opened"), LAYOUTS),
    st.tuples(st.just("finished"), LAYOUTS),
    st.tuples(st.just("declared"), COUNTS, LAYOUTS),
)
KNOWN = attrs.asdict(
    Meta(6, "Order", "blake3", layout=2, draining=(1, 4), former=frozenset({4})), recurse=False
)


def after(meta: Meta, step: tuple[str, int, int] | tuple[str, int]) -> Meta:
    rules = {"begun": begun, "opened": opened, "finished": finished, "declared": told}
    return rules[step[0]](meta, *step[1:])


def told(meta: Meta, count: int, layout: int) -> Meta:
    return declared(meta, attrs.evolve(FIRST, partition_count=count, layout=layout))


@given(st.lists(STEPS, max_size=30))
def test_a_layout_only_rises_and_no_count_is_forgotten(steps: list[tuple[str, int, int]]) -> None:
    meta = FIRST
    for step in steps:
        before, meta = meta, after(meta, step)
        assert after(meta, step) == meta, "said again, it changes nothing"
        assert meta.layout >= before.layout
        assert before.partition_count in {meta.partition_count, *meta.former}
        if meta.layout > before.layout:
            assert (meta.layout, meta.partition_count) == before.next
            assert meta.draining == (before.layout, before.partition_count)
        assert meta.next is None or meta.next[0] > meta.layout
        assert meta.draining is None or meta.draining[0] < meta.layout


def test_one_change_at_a_time() -> None:
    first = begun(FIRST, 2, 16)
    assert begun(first, 2, 8) == begun(first, 3, 8) == first
    second = opened(first, 2)
    assert begun(second, 3, 8) == second
    assert begun(finished(second, 1), 3, 8).next == (3, 8)


def test_who_knows_more_than_the_server_is_believed() -> None:
    assert told(FIRST, 16, 3).next == (3, 16)
    assert opened(told(FIRST, 16, 3), 3) == Meta(
        16, "Order", "blake3", layout=3, draining=(1, 4), former=frozenset({4})
    )


def test_a_former_count_is_no_disagreement() -> None:
    meta = opened(begun(FIRST, 2, 16), 2)
    assert disagreement(meta, 4, "Order", "blake3") is None
    assert disagreement(meta, 16, "Order", "blake3") is None
    assert disagreement(meta, 8, "Order", "blake3") == ("partition_count", 16, 8)
    assert disagreement(meta, 8, "Other", "blake3") == ("record", "Order", "Other")


@given(st.sets(st.sampled_from(sorted(KNOWN))), st.lists(st.tuples(COUNTS, LAYOUTS), min_size=1, max_size=6))
def test_what_is_lost_is_filled_once_and_never_with_another_layouts_count(
    lost: set[str], tellers: list[tuple[int, int]]
) -> None:
    if "layout" in lost:
        lost.add("partition_count")  # one command writes both
    meta = Meta(**{name: value for name, value in KNOWN.items() if name not in lost})
    for count, layout in tellers:
        before, meta = meta, told(meta, count, layout)
        assert told(meta, count, layout) == meta, "said again, it changes nothing"
        if before.partition_count:
            assert meta.partition_count == before.partition_count
        elif meta.partition_count:
            assert (meta.partition_count, meta.layout) == (count, layout)
            assert layout >= before.layout
        assert meta.draining is None or meta.draining[0] < meta.layout or not meta.partition_count
        assert meta.next is None or meta.next[0] > meta.layout
