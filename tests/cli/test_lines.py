"""Lines of a file: all of them, with their numbers, however they are cut, in bounded memory."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._cli._errors import Ended
from runnel_trio._cli._lines import BATCH, LONGEST, Lines


def lines(path: Path) -> list[tuple[int, bytes | None]]:
    source = Lines.open(str(path))
    found = []
    while batch := source.batch():
        assert len(batch) <= BATCH
        found += [(line.number, line.text) for line in batch]
    source.close()
    return found


def expected(data: bytes) -> list[tuple[int, bytes]]:
    numbered = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    return [(number, text) for number, text in numbered if text.strip()]


@given(
    data=st.binary(max_size=3000) | st.lists(st.sampled_from([b"a", b"", b" ", b"\r"])).map(b"\n".join),
    packed=st.booleans(),
)
def test_every_line_that_is_not_empty_has_its_number(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, packed: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "lines"
    path.write_bytes(gzip.compress(data) if packed else data)
    if packed or not data.startswith(b"\x1f\x8b"):
        assert lines(path) == expected(data)


def test_lines_that_are_cut_by_chunks_are_whole(tmp_path: Path) -> None:
    data = b"\n".join(b"%d" % n * 50_000 for n in range(10, 40))
    (tmp_path / "lines").write_bytes(data)
    assert lines(tmp_path / "lines") == expected(data)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n")
    assert lines(tmp_path / "lines") == [(1, b"{}"), (2, b"\xef\xbb\xbf{}")]


@pytest.mark.parametrize(("length", "kept"), [(LONGEST, True), (LONGEST + 1, False)])
def test_the_longest_line(tmp_path: Path, length: int, kept: bool) -> None:
    (tmp_path / "lines").write_bytes(b"a\n" + b"x" * length + b"\nb")
    found = lines(tmp_path / "lines")
    assert [(number, text if text is None else len(text)) for number, text in found] == [
        (1, 1),
        (2, length if kept else None),
        (3, 1),
    ]


def test_a_file_of_several_gzip_members_is_one(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(gzip.compress(b"a\nb") + gzip.compress(b"c\nd\n"))
    assert lines(tmp_path / "lines") == [(1, b"a"), (2, b"bc"), (3, b"d")]


@pytest.mark.parametrize("damage", ["cut", "flipped", "checksum", "trailing"])
def test_damage_is_told_after_the_lines_before_it(tmp_path: Path, damage: str) -> None:
    text = b"\n".join(b"%d" % n for n in range(200_000))
    packed = bytearray(gzip.compress(text))
    match damage:
        case "cut":
            del packed[len(packed) // 2 :]
        case "flipped":
            packed[len(packed) // 2 : len(packed) // 2 + 50] = bytes(50)
        case "checksum":
            packed[-8] ^= 1
        case "trailing":
            packed += b"rubbish"
    (tmp_path / "lines").write_bytes(packed)
    source = Lines.open(str(tmp_path / "lines"))
    found = []
    with pytest.raises(Ended, match="reading .*lines failed: ") as raised:
        while batch := source.batch():
            found += batch
    source.close()
    assert raised.value.code == 74
    assert [line.number for line in found] == list(range(1, len(found) + 1))
    assert len(found) > 1000


def test_what_a_pipe_has_is_given_without_waiting_for_more() -> None:
    read, write = os.pipe()
    try:
        source = Lines.open(f"/dev/fd/{read}")
        os.write(write, b"aa\nb")
        assert [line.text for line in source.batch()] == [b"aa"]
        os.write(write, b"c\nd\ne")
        assert [line.text for line in source.batch()] == [b"bc", b"d"]
        source.close()
    finally:
        os.close(read)
        os.close(write)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(Ended, match=r"nothing: No such file or directory") as raised:
        Lines.open(str(tmp_path / "nothing"))
    assert raised.value.code == 74
