"""While entries are read there are fewer collections, and afterwards all is as it was."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from runnel_trio._broker import open_broker
from runnel_trio._broker._redis._transport._garbage import few_collections
from runnel_trio._broker._values import Batch, ProcessorSpec, ServerConfig, StreamSpec
from runnel_trio.constants import Overflow


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[tuple[int, ...]]:
    before = gc.get_threshold()
    gc.set_threshold(600, 8, 9)
    yield 600, 8, 9
    gc.set_threshold(*before)


def collections() -> int:
    return sum(x["collections"] for x in gc.get_stats())


def test_many_objects_are_made_and_not_looked_at(thresholds: tuple[int, ...]) -> None:
    before = collections()
    with few_collections():
        made = [[] for _ in range(9_000)]
        assert collections() - before <= 1
    assert len(made) == 9_000
    assert gc.get_threshold() == thresholds


def test_the_last_of_several_puts_it_back(thresholds: tuple[int, ...]) -> None:
    first, second = few_collections(), few_collections()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > 600
    second.__exit__(None, None, None)
    assert gc.get_threshold() == thresholds


def test_an_error_puts_it_back_too(thresholds: tuple[int, ...]) -> None:
    with pytest.raises(ZeroDivisionError), few_collections():
        raise ZeroDivisionError
    assert gc.get_threshold() == thresholds


def test_what_others_set_meanwhile_stays() -> None:
    with few_collections():
        gc.set_threshold(50_000, 20, 100)
    assert gc.get_threshold() == (50_000, 20, 100)
    with few_collections():
        pass
    assert gc.get_threshold() == (50_000, 20, 100)


@pytest.mark.parametrize("first", [0, 600_000])
def test_where_there_are_few_anyhow_nothing_is_set(first: int) -> None:
    gc.set_threshold(first, 8, 9)
    with few_collections():
        assert gc.get_threshold() == (first, 8, 9)
    assert gc.get_threshold() == (first, 8, 9)


def test_of_what_others_set_meanwhile_each_part_stays() -> None:
    with few_collections():
        gc.set_threshold(*gc.get_threshold()[:2], 100)
    assert gc.get_threshold() == (600, 8, 100)
    with few_collections():
        gc.set_threshold(10_000, 50, 50)
    assert gc.get_threshold() == (10_000, 50, 50)


def in_a_fork(check: Callable[[], object]) -> str:
    """What it says there."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.write(theirs, repr(check()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    said = os.read(ours, 100).decode()
    os.close(ours)
    os.close(theirs)
    return said


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("chosen", [(10_000, 50, 50), (0, 8, 9)])
def test_what_a_program_has_chosen_is_the_same_in_a_forked_process(chosen: tuple[int, int, int]) -> None:
    with few_collections():
        pass
    gc.set_threshold(*chosen)
    assert in_a_fork(gc.get_threshold) == repr(chosen)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_who_is_forked_ends_nothing_of_its_own_by_ending_what_it_came_with() -> None:
    with ExitStack() as inherited:
        inherited.enter_context(few_collections())

        def check() -> bool:
            with few_collections():
                inherited.close()
                few = gc.get_threshold()[0] > 600
                with few_collections():
                    pass
                return few and gc.get_threshold()[0] > 600

        assert in_a_fork(check) == "True"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_its_own(thresholds: tuple[int, ...]) -> None:
    def check() -> tuple[bool, bool]:
        with few_collections():
            inside = gc.get_threshold()[0]
        return inside > 600, gc.get_threshold() == thresholds

    with few_collections():
        assert in_a_fork(check) == "(True, True)"


async def test_they_are_few_as_long_as_a_reader_is_open(thresholds: tuple[int, ...]) -> None:
    stream = StreamSpec(
        app="garbage",
        name="large",
        partition_count=1,
        record="R",
        hasher="h",
        partition_size=1000,
        overflow=Overflow.BLOCK,
    )
    async with open_broker(ServerConfig("embedded://")) as broker:
        await broker.declare(stream)
        await broker.append(stream, {0: Batch((b"data",), [b"x" * 100] * 500)})
        assert gc.get_threshold() == thresholds, "who only sends leaves it alone"
        reader = broker.reader(ProcessorSpec(stream=stream, name="reader"), 1.0)
        try:
            assert len((await reader.read({0: b"0-0"}, 1000))[0]) == 500
            assert gc.get_threshold()[0] > 9_000
            assert gc.get_threshold()[1:] == thresholds[1:]
        finally:
            await reader.aclose()
    await reader.aclose()
    assert gc.get_threshold() == thresholds
