"""From records to bytes and back: declaration, conversion, serialization, compression, hashing.

A record goes through three steps, and comes back through their inverses::

    Record ──converter──▶ plain form ──serializer──▶ bytes ──compressor──▶ bytes
             (_converter)  dict, list,  (_serialization)     (_compression)
                           str, int, …

`RecordCodec` (_record_codec) joins the steps for one stream. A primitive record skips all three (_primitive).
The hooks of the converter are in `_hooks/`, by type; `_traits` there says how the path of a faulty value is
found. If msgspec is installed, most bytes become records without the plain form in between:
`_fast/_msgspec_read` says when, and why the result is the same. `_fast/_precheck` tells which records are
certain to encode, so that a send need not encode all of them first. `_bounds` keeps each step from exceeding
the maximum size of an event.
"""

from __future__ import annotations

from runnel_trio._codec._compression import LZ4 as LZ4
from runnel_trio._codec._compression import Gzip as Gzip
from runnel_trio._codec._converter import configure_converter as configure_converter
from runnel_trio._codec._converter import make_converter as make_converter
from runnel_trio._codec._hashing import SIMPLE_KEYS as SIMPLE_KEYS
from runnel_trio._codec._hashing import blake3_hasher as blake3_hasher
from runnel_trio._codec._hashing import canonical_key as canonical_key
from runnel_trio._codec._hashing import hash_of_form as hash_of_form
from runnel_trio._codec._hashing import parse_key as parse_key
from runnel_trio._codec._hooks._traits import foreign as foreign
from runnel_trio._codec._record import Record as Record
from runnel_trio._codec._record import check_record as check_record
from runnel_trio._codec._record_codec import DecodeError as DecodeError
from runnel_trio._codec._record_codec import RecordCodec as RecordCodec
from runnel_trio._codec._serialization import FastJSONSerializer as FastJSONSerializer
from runnel_trio._codec._serialization import JSONSerializer as JSONSerializer
from runnel_trio._codec._serialization import default_serializer as default_serializer

__all__ = [
    "LZ4",
    "SIMPLE_KEYS",
    "DecodeError",
    "FastJSONSerializer",
    "Gzip",
    "JSONSerializer",
    "Record",
    "RecordCodec",
    "blake3_hasher",
    "canonical_key",
    "check_record",
    "configure_converter",
    "default_serializer",
    "foreign",
    "hash_of_form",
    "make_converter",
    "parse_key",
]
