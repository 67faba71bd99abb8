"""Whatever stands in an entry, it becomes a valid record or a `DecodeError`, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hostile_entries import MOST, RECORDS, SERIALIZERS, codec_of, entries
from hypothesis import given

from runnel_trio import Record
from runnel_trio._codec import DecodeError, RecordCodec
from runnel_trio.interfaces import Serializer


def read(codec: RecordCodec[Any], entry: list[bytes]) -> Record | str:
    """A record, or what is told of its error."""
    try:
        found: Record = codec.decode(entry)
    except DecodeError as error:
        return str(error)
    return found


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@pytest.mark.parametrize("record", [type(x) for x in RECORDS])
def test_an_entry_becomes_a_record_or_an_error_that_can_be_told(
    record: type[Record], serializer: Serializer, look: Callable[[Any], None]
) -> None:
    codecs = [codec_of(record, serializer), codec_of(record, serializer, strict=True)]

    @given(entry=entries(record))
    def test(entry: list[bytes]) -> None:
        for codec in codecs:
            found = read(codec, entry)
            if isinstance(found, Record):
                (written, *_) = codec.values([found])
                assert len(written) <= MOST
            else:
                assert found.isprintable()
                assert len(found.encode()) < 3000

    look(test)


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@pytest.mark.parametrize("good", RECORDS, ids=lambda x: type(x).__name__)
def test_what_was_sent_is_read(good: Record, serializer: Serializer) -> None:
    codec = codec_of(type(good), serializer)
    assert codec.decode(codec.encode(good)) == good
