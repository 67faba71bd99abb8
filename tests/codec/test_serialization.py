"""Serializers and compressors: the library's, and users' own as in the reference."""

from __future__ import annotations

import copy
import gzip
import json
import pickle
import sys
from dataclasses import dataclass
from typing import Any

import attrs
import orjson
import pytest

from runnel_trio._codec import (
    LZ4,
    DecodeError,
    FastJSONSerializer,
    Gzip,
    JSONSerializer,
    Record,
    RecordCodec,
    _extras,
    _serialization,
    default_serializer,
    make_converter,
)
from runnel_trio.exceptions import Misconfigured, RecordInvalid
from runnel_trio.interfaces import Compressor, Serializer


class Order(Record):
    order_id: int
    name: str = ""


def codec_of(serializer: Serializer) -> RecordCodec[Order]:
    return RecordCodec(Order, serializer, make_converter())


both = pytest.mark.parametrize("serializer", [JSONSerializer(), FastJSONSerializer()], ids=repr)


def test_both_write_the_same_bytes() -> None:
    order = Order(order_id=1, name='Zoë "x" \u2028 \x00 \U0001f600')
    stored = {codec_of(x).encode(order) for x in (JSONSerializer(), FastJSONSerializer())}
    assert stored == {(b"data", '{"order_id":1,"name":"Zoë \\"x\\" \u2028 \\u0000 \U0001f600"}'.encode())}


@both
def test_they_are_values(serializer: Serializer) -> None:
    kind = type(serializer)
    assert serializer == kind()
    assert hash(serializer) == hash(kind())
    assert kind(compressor=Gzip()) == kind(Gzip()) != serializer
    assert repr(kind(compressor=Gzip(level=3))) == f"{kind.__name__}(compressor=Gzip(level=3))"
    assert pickle.loads(pickle.dumps(serializer)) == copy.deepcopy(serializer) == serializer
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        serializer.compressor = None


@pytest.mark.parametrize("made", [True, False], ids=["C", "Python"])
def test_the_standard_encoder_is_used_as_the_library_offers_it(
    monkeypatch: pytest.MonkeyPatch, made: bool
) -> None:
    if not made:
        monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    encode = _serialization._reused(_serialization._encoder)
    for value in ({"a": [1, 2.5, -0.0, None, True, "é\u2028", {}]}, [], "x", 5, 1e300, {"ключ": {"b": [[]]}}):
        assert encode(value) == json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for wrong, error in ((float("nan"), ValueError), ([object()], TypeError), ({(): 1}, TypeError)):
        with pytest.raises(error):
            encode(wrong)
    assert encode([1]) == "[1]"


@both
def test_white_space_around_it_is_no_matter(serializer: Serializer) -> None:
    assert serializer.loads(b' \n{"a": 1}\t\r ') == {"a": 1}
    for wrong in (b"\x0b1", b"1 2", b"", b" ", b"\xef\xbb\xbf1"):
        with pytest.raises(ValueError):
            serializer.loads(wrong)


@both
def test_a_lone_surrogate_is_refused_and_found(serializer: Serializer) -> None:
    with pytest.raises(RecordInvalid) as caught:
        codec_of(serializer).encode(Order(order_id=1, name="a\ud800"))
    assert caught.value.path == "name"
    assert caught.value.reason.startswith(f"{type(serializer).__name__} cannot write it: ")
    assert caught.value.__cause__ is not None


@both
@pytest.mark.parametrize("payload", [b"", b"{", b"\xff", b'{"order_id":1}x', b'{"name":"\xff"}'])
def test_what_is_not_json_is_refused(serializer: Serializer, payload: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        codec_of(serializer).decode([b"data", payload])
    assert caught.value.field == "data"
    assert caught.value.reason.startswith(f"{type(serializer).__name__} cannot read it: ")


@both
@pytest.mark.parametrize("payload", [b"null", b"5", b'"x"', b"[1]", b"[]"])
def test_json_of_another_shape_is_refused(serializer: Serializer, payload: bytes) -> None:
    with pytest.raises(DecodeError, match="^expected Order as an object, got "):
        codec_of(serializer).decode([b"data", payload])


@pytest.mark.parametrize("fields", [[], [b"other", b"{}"], [b"other"]])
def test_an_entry_without_data_is_refused(fields: list[bytes]) -> None:
    with pytest.raises(DecodeError, match=r"^data: the entry has no such field"):
        codec_of(JSONSerializer()).decode(fields)


def test_data_may_stand_anywhere() -> None:
    entry = [b"trace", b"1", b"data", b'{"order_id":1}']
    assert codec_of(JSONSerializer()).decode(entry) == Order(order_id=1)


@pytest.mark.parametrize("compressor", [Gzip(), Gzip(level=0), Gzip(level=9), LZ4()], ids=repr)
def test_compressors_restore_what_they_were_given(compressor: Compressor) -> None:
    for value in (b"", b"a", b"a" * 10_000, bytes(range(256))):
        assert compressor.decompress(compressor.compress(value)) == value
    assert pickle.loads(pickle.dumps(compressor)) == compressor
    with pytest.raises(DecodeError, match=r"^data: JSONSerializer cannot read it: "):
        codec_of(JSONSerializer(compressor)).decode([b"data", b"not compressed"])


def test_gzip_gives_equal_bytes_for_equal_values() -> None:
    assert Gzip().compress(b"a") == Gzip().compress(b"a")
    assert Gzip().compress(b"a")[4:8] == b"\0\0\0\0"
    with pytest.raises(ValueError, match="level"):
        Gzip(level=10)


def test_the_default_is_the_fast_one_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_serializer() == FastJSONSerializer()
    _uninstall(monkeypatch, "orjson")
    assert default_serializer() == JSONSerializer()


@pytest.mark.parametrize(("package", "kind"), [("orjson", FastJSONSerializer), ("lz4", LZ4)])
def test_without_its_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, package: str, kind: type[Any]
) -> None:
    _uninstall(monkeypatch, package)
    with pytest.raises(Misconfigured) as caught:
        kind()
    text = f"{kind.__name__} needs the package '{package}', which is not installed: "
    assert str(caught.value) == f"{text}pip install runnel-trio[fast]"


def _uninstall(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    for module in [x for x in sys.modules if x.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(_extras, "imported", _extras.imported.__wrapped__)
    for name in ("_serialization", "_compression"):
        monkeypatch.setattr(f"runnel_trio._codec.{name}.imported", _extras.imported)


def test_the_reference_examples_run() -> None:
    class OwnGzip(Compressor):
        def compress(self, value):  # type: ignore[no-untyped-def]  # as users write it
            return gzip.compress(value)

        def decompress(self, value):  # type: ignore[no-untyped-def]  # as users write it
            return gzip.decompress(value)

    @dataclass(frozen=True)
    class OwnJSON(Serializer):
        compressor = None

        def dumps(self, value):  # type: ignore[no-untyped-def]  # as users write it
            return orjson.dumps(value)

        def loads(self, value):  # type: ignore[no-untyped-def]  # as users write it
            return orjson.loads(value)

    for serializer in (JSONSerializer(compressor=OwnGzip()), OwnJSON()):
        codec = codec_of(serializer)
        assert codec.decode(codec.encode(Order(order_id=1, name="x"))) == Order(order_id=1, name="x")


@dataclass(frozen=True)
class Broken(Serializer):
    written: Any = b"{}"
    compressor: Compressor | None = None

    def dumps(self, value: Any) -> bytes:
        if isinstance(self.written, Exception):
            raise self.written
        return self.written  # type: ignore[no-any-return]  # the point of the test

    def loads(self, value: bytes) -> Any:
        raise KeyError("lost")


class BrokenCompressor(Compressor):
    def compress(self, value: bytes) -> bytes:
        raise OSError("no room")

    def decompress(self, value: bytes) -> bytes:
        raise EOFError("cut off")


@pytest.mark.parametrize(
    ("serializer", "reason"),
    [
        (Broken("{}"), "Broken.dumps must return bytes, not str"),
        (Broken(RuntimeError("no")), "Broken cannot write it: RuntimeError: no"),
        (JSONSerializer(BrokenCompressor()), "JSONSerializer cannot write it: OSError: no room"),
    ],
)
def test_a_serializer_that_fails_to_write(serializer: Serializer, reason: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        codec_of(serializer).encode(Order(order_id=1))
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("serializer", "reason"),
    [
        (Broken(), "Broken cannot read it: KeyError: 'lost'"),
        (JSONSerializer(BrokenCompressor()), "JSONSerializer cannot read it: EOFError: cut off"),
    ],
)
def test_a_serializer_that_fails_to_read(serializer: Serializer, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        codec_of(serializer).decode([b"data", b"{}"])
    assert (caught.value.field, caught.value.reason) == ("data", reason)


def test_a_subclass_may_override_what_it_inherits() -> None:
    class Marked(FastJSONSerializer):
        def dumps(self, value: Any) -> bytes:
            return b"#" + super().dumps(value)

        def loads(self, value: bytes) -> Any:
            return super().loads(value[1:])

    codec = codec_of(Marked())
    assert codec.encode(Order(order_id=1))[1].startswith(b"#{")
    assert codec.decode(codec.encode(Order(order_id=1))) == Order(order_id=1)
    assert hash(Marked()) == hash(Marked())
