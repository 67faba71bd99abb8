"""What is larger than it may be is neither written nor read, and costs no memory on the way."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import lz4.frame
import pytest

from runnel_trio import LZ4, FastJSONSerializer, Gzip, JSONSerializer, Record
from runnel_trio._codec import DecodeError, RecordCodec, make_converter
from runnel_trio.exceptions import RecordInvalid
from runnel_trio.interfaces import Compressor, Serializer

MOST = 1000


class Note(Record):
    text: str


class Wide(Record, primitive=True):
    text: str
    n: int = 0
    blob: bytes = b""


class Node(Record):
    name: str
    children: list[Node]


def codec_of(record: type[Any], serializer: Serializer, most: int = MOST) -> RecordCodec[Any]:
    return RecordCodec(record, serializer, make_converter(), max_event_bytes=most)


compressors = pytest.mark.parametrize("compressor", [Gzip(), LZ4()], ids=repr)
serializers = pytest.mark.parametrize("kind", [JSONSerializer, FastJSONSerializer])


@serializers
@pytest.mark.parametrize("record", [Note, Wide])
def test_an_event_of_the_greatest_size_is_sent_and_read_and_one_byte_more_is_neither(
    record: type[Any], kind: Callable[[], Serializer]
) -> None:
    codec, free = codec_of(record, kind()), codec_of(record, kind(), 1 << 30)
    around = sum(map(len, free.values([record(text="")])))
    largest, larger = record(text="x" * (MOST - around)), record(text="x" * (MOST - around + 1))
    assert codec.decode(codec.encode(largest)) == largest
    said = r"1,001 bytes, and max_event_bytes of its stream is 1,000"
    with pytest.raises(RecordInvalid, match=f"{record.__name__}: {said}"):
        codec.values([largest, larger])
    with pytest.raises(DecodeError, match=said):
        codec.decode(free.encode(larger))
    assert len(codec.values([largest] * 3)) == 3 * len(codec.names)


def test_what_a_primitive_entry_has_beside_the_fields_of_the_record_counts_too() -> None:
    with pytest.raises(DecodeError, match="1,002 bytes, and max_event_bytes"):
        codec_of(Wide, JSONSerializer()).decode([b"text", b"x", b"n", b"1", b"other", b"x" * 1000])


@serializers
@compressors
def test_what_decompresses_to_more_than_may_be_is_neither_sent_nor_read(
    compressor: Compressor, kind: Callable[[Compressor], Serializer]
) -> None:
    codec, free = codec_of(Note, kind(compressor)), codec_of(Note, kind(compressor), 1 << 30)
    large = Note(text="x" * MOST)
    with pytest.raises(
        RecordInvalid, match=r"Note\.text: .*1,011 bytes before compression, and max_event_bytes"
    ):
        codec.values([large])
    (stored,) = free.values([large])
    assert len(stored) < MOST
    with pytest.raises(
        DecodeError, match="data: more than 1,000 bytes decompressed: that is max_event_bytes"
    ):
        codec.decode([b"data", stored])
    assert free.decode([b"data", stored]) == large


def bombs() -> list[Any]:
    """A few kilobytes each, and 64 MiB of zeros."""
    plain = bytes(1 << 26)
    return [
        pytest.param(Gzip(), gzip.compress(plain, 9), id="gzip"),
        pytest.param(Gzip(), gzip.compress(bytes(1 << 20), 9) * 64, id="gzip-members"),
        pytest.param(LZ4(), lz4.frame.compress(plain), id="lz4"),
        pytest.param(
            LZ4(), lz4.frame.compress(plain, block_size=lz4.frame.BLOCKSIZE_MAX4MB), id="lz4-large-blocks"
        ),
        pytest.param(LZ4(), _claiming(1 << 40), id="lz4-that-claims-a-terabyte"),
    ]


def _claiming(size: int) -> bytes:
    """An LZ4 frame whose header says that so much is in it."""
    for checksum in range(256):
        header = b"\x04\x22\x4d\x18\x68\x40" + size.to_bytes(8, "little") + bytes([checksum])
        try:
            lz4.frame.get_frame_info(header + bytes(4))
        except RuntimeError:
            continue
        return header + lz4.frame.compress(bytes(1 << 20))[7:]
    raise AssertionError("no checksum fits")


@pytest.mark.parametrize(("compressor", "bomb"), bombs())
def test_a_bomb_is_refused_and_takes_no_memory(compressor: Compressor, bomb: bytes) -> None:
    codec = codec_of(Note, JSONSerializer(compressor), most=1 << 19)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            codec.decode([b"data", bomb])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 8 << 20


def test_many_empty_members_take_time_for_each_and_not_for_all_that_follow_each() -> None:
    empty = zlib.compressobj(0, zlib.DEFLATED, 16 + zlib.MAX_WBITS).flush()
    for value in (empty * 50_000, (empty + b"\0") * 50_000):
        began = time.process_time()
        assert Gzip().decompress_within(value, 10) == b"" == gzip.decompress(empty)
        assert time.process_time() - began < 3  # 0.2; when each copies the rest, more than 30


@pytest.mark.parametrize("value", [b"", b"abc" * 100, bytes(200_000)], ids=len)
@compressors
def test_within_its_limit_it_is_as_without(compressor: Compressor, value: bytes) -> None:
    stored = compressor.compress(value)
    for limit in (len(value), len(value) + 1, 1 << 53):
        assert compressor.decompress_within(stored, limit) == value
    assert len(compressor.decompress_within(stored, len(value) // 2)) >= len(value) // 2
    with pytest.raises(EOFError, match="ends in the middle"):
        compressor.decompress_within(stored[:-2], 1 << 20)


def test_members_of_gzip_may_be_several_with_zeros_between_and_behind() -> None:
    stored = gzip.compress(b"ab") + bytes(3) + gzip.compress(b"") + gzip.compress(b"c" * 40_000) + bytes(2)
    assert Gzip().decompress_within(stored, 1 << 20) == gzip.decompress(stored) == b"ab" + b"c" * 40_000
    for wrong in (bytes(3) + stored, stored + b"\0x", b"x"):
        with pytest.raises((zlib.error, EOFError)):
            Gzip().decompress_within(wrong, 1 << 20)


def test_a_compressor_of_the_users_own_is_held_to_it_too() -> None:
    class Own:
        """As many write it: with no base class."""

        def compress(self, value: bytes) -> bytes:
            return value[::-1]

        def decompress(self, value: bytes) -> bytes:
            return value[::-1]

    class Inheriting(Own, Compressor):
        pass

    for compressor in (Own(), Inheriting()):
        serializer = JSONSerializer(compressor)  # type: ignore[arg-type]
        codec, free = codec_of(Note, serializer), codec_of(Note, serializer, 2 * MOST)
        assert codec.decode(codec.encode(Note(text="x"))) == Note(text="x")
        (stored,) = free.values([Note(text="x" * MOST)])
        with pytest.raises(DecodeError, match="1,011 bytes"):
            codec.decode([b"data", stored])


def test_a_fault_that_lies_deep_is_looked_for_so_deep_and_no_deeper() -> None:
    codec = codec_of(Node, JSONSerializer(), 1 << 20)
    text = '{"name":"a","children":[' * 100 + '{"name":1,"children":[]}' + "]}" * 100
    with pytest.raises(DecodeError) as refused:
        codec.decode([b"data", text.encode()])
    assert refused.value.field.startswith("children[0].children[0]")
    assert refused.value.reason == "expected str, got int 1"


def test_what_others_wrote_is_told_in_one_line_without_codes_for_the_terminal() -> None:
    codec = RecordCodec(Note, JSONSerializer(), make_converter(), forbid_unknown=True)
    with pytest.raises(DecodeError) as refused:
        codec.decode([b"data", b'{"text":"x","a\\n\\u001b[2J' + b"b" * 5000 + b'":1}'])
    assert str(refused.value).startswith(r"a\n\x1b[2Jbbb")
    assert len(str(refused.value)) < 600


@serializers
@pytest.mark.parametrize("text", [r'"\ud800"', r'"a\udfffb"', r'"\udc00\ud800"', "NaN", "-Infinity"])
def test_what_is_no_json_for_others_is_none_for_us(kind: Callable[[], Serializer], text: str) -> None:
    with pytest.raises(ValueError):
        kind().loads(b'{"text":' + text.encode() + b"}")
    assert kind().loads(rb'["\ud83d\ude00", "\u00e9", "\u0000"]') == ["\U0001f600", "é", "\0"]
