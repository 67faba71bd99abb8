"""How the entries of a table are stored, and when one is over.

A processor's table is a hash in each partition. A field is the entry's partition key and, if it has one, its
subkey, both in canonical form:

    LENGTH:KEY SUBKEY        without the blank; LENGTH is that of the key, in decimal digits

A value begins with a byte of flags, by which later versions can tell other forms:

    FLAGS(1) DEADLINE(8) VERSION(1) [SIZE(1) HASH(SIZE)] RECORD

``DEADLINE`` is when the entry is over, in milliseconds since 1970, 0 for never. ``VERSION`` is that of the
record's class. ``HASH`` is what a hasher of the user's gave for the partition key: the entry's partition in
another layout follows from it. (What the default hasher gives follows from the key.) ``RECORD`` is what the
serializer wrote; of a record with several fields, each name and value as a netstring.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

__all__ = ["TableValue", "deadline_of", "entry_field", "living", "split_field"]

#: The flags: always set; the record has several fields; a hash is there.
_KNOWN, _SEVERAL, _HASHED = 0x01, 0x02, 0x04
_FLAGS = frozenset({_KNOWN, _KNOWN | _SEVERAL, _KNOWN | _HASHED, _KNOWN | _SEVERAL | _HASHED})
#: The name of the field in which serializers store a record.
_DATA = b"data"


def entry_field(key: bytes, subkey: bytes = b"") -> bytes:
    """The field of an entry.

    Example:
        >>> entry_field(b"sAda"), entry_field(b"sAda", b"i7")
        (b'4:sAda', b'4:sAdai7')
    """
    return b"%d:%b%b" % (len(key), key, subkey)


def split_field(field: bytes) -> tuple[bytes, bytes]:
    """The key and the subkey of a field; the latter is empty if there is none.

    Raises:
        ValueError: it is nothing of the kind.
    """
    size, colon, rest = field.partition(b":")
    if not colon or not size.isdigit() or int(size) > len(rest):
        raise ValueError(f"{field[:80]!r} is no field of a table")
    return rest[: int(size)], rest[int(size) :]


@attrs.frozen
class TableValue:
    r"""What is stored of an entry.

    Attributes:
        fields: the record, as an entry of a stream has it: names and values in turn.
        deadline: when it is over, in milliseconds since 1970; 0: never.
        hash: what the user's hasher gave for the key; None if it follows from the key.
        version: of the record's class.

    Example:
        >>> TableValue((b"data", b"{}"), deadline=1).packed
        b'\x01\x00\x00\x00\x00\x00\x00\x00\x01\x01{}'
    """

    fields: Sequence[bytes]
    deadline: int = 0
    hash: int | None = None
    version: int = 1

    @property
    def packed(self) -> bytes:
        """As it is stored."""
        flags, hashed, fields = _KNOWN, b"", self.fields
        if self.hash is not None:
            size = self.hash.bit_length() // 8 + 1
            hashed, flags = bytes([size]) + self.hash.to_bytes(size, "big", signed=True), flags | _HASHED
        if len(fields) == 2 and fields[0] == _DATA:
            record = fields[1]
        else:
            flags |= _SEVERAL
            record = b"".join([b"%d:%b," % (len(part), part) for part in fields])
        return b"%c%b%c%b%b" % (flags, self.deadline.to_bytes(8, "big"), self.version, hashed, record)

    @classmethod
    def parse(cls, packed: bytes) -> TableValue:
        """What `packed` wrote.

        Raises:
            ValueError: it is nothing of the kind, or of a later version.
        """
        if len(packed) < 10 or packed[0] not in _FLAGS:
            raise ValueError(f"{packed[:20]!r} is no value of a table that this version can read")
        flags, begin, hashed = packed[0], 10, None
        if flags & _HASHED:
            if len(packed) < 11 or len(packed) < (begin := 11 + packed[10]):
                raise ValueError(f"{packed[:20]!r} is cut off")
            hashed = int.from_bytes(packed[11:begin], "big", signed=True)
        record = packed[begin:]
        fields = _netstrings(record) if flags & _SEVERAL else (_DATA, record)
        return cls(fields, deadline_of(packed), hashed, packed[9])


def deadline_of(packed: bytes) -> int:
    """When an entry is over, in milliseconds since 1970; 0: never."""
    return int.from_bytes(packed[1:9], "big")


def living(packed: bytes | None, now: float) -> bytes | None:
    """The value, if there is one and it is not over at this time, in milliseconds since 1970.

    Example:
        >>> value = TableValue((b"data", b"{}"), deadline=5).packed
        >>> living(value, 4) == value, living(value, 5), living(None, 0)
        (True, None, None)
    """
    if packed is None:
        return None
    deadline = int.from_bytes(packed[1:9], "big")
    return None if 0 < deadline <= now else packed


def _netstrings(text: bytes) -> list[bytes]:
    at, parts = 0, []
    while at < len(text):
        colon = text.index(b":", at)
        size, begin = int(text[at:colon]), colon + 1
        at = begin + size + 1
        if text[at - 1 : at] != b",":
            raise ValueError(f"{text[:80]!r} are no fields of a record")
        parts.append(text[begin : at - 1])
    if len(parts) % 2:
        raise ValueError(f"{text[:80]!r} is a field without a value")
    return parts
