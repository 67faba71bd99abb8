"""What is kept of a parked key: the head of its list, and its entries.

A processor keeps two hashes for a partition with parked keys:

    keys     KEY → `FIRST LAST ATTEMPTS ROUNDS NEXT SINCE FACTS`      parked     NUMBER:KEY → one entry

The entries of a key are numbered from ``FIRST`` to ``LAST``, in the order of the log. New ones get the next
number; handled ones leave from the front. A key is free again when nobody keeps its head: whoever removes
the last entry removes the head in the same step, and nobody else does. Whoever changes a list says which
head he has seen, so an operator and an owner cannot overwrite each other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

__all__ = [
    "Facts",
    "Head",
    "entry_name",
    "facts_text",
    "pack_entry",
    "pack_fields",
    "parse_value",
    "unpack_entry",
    "unpack_fields",
    "write_value",
]


@attrs.frozen
class Head:
    """A parked key's list, and when it is tried again.

    Attributes:
        first: the number of its first entry, from 1.
        last: the number of its last entry; one less than ``first`` if there is none.
        attempts: how often the first entry was tried and failed.
        rounds: how often it was parked.
        next: when it is tried again, in milliseconds since 1970; 0: only when an operator says so.
        since: when the key was parked, in milliseconds since 1970.

    Example:
        >>> head = Head.parse(b"3 5 4 1 1764330000000 1764320000000")
        >>> head.count, head.is_due(1764330000001), head.text
        (3, True, b'3 5 4 1 1764330000000 1764320000000')
    """

    first: int = 1
    last: int = 0
    attempts: int = 0
    rounds: int = 0
    next: int = 0
    since: int = 0

    @classmethod
    def parse(cls, text: bytes) -> Head:
        """What `text` wrote.

        Raises:
            ValueError: it is nothing of the kind.
        """
        first, last, attempts, rounds, following, since = map(int, text.split(b" "))
        return cls(first, last, attempts, rounds, following, since)

    @property
    def text(self) -> bytes:
        """As it is stored."""
        numbers = (self.first, self.last, self.attempts, self.rounds, self.next, self.since)
        return b"%d %d %d %d %d %d" % numbers

    @property
    def count(self) -> int:
        """How many entries the list has."""
        return self.last - self.first + 1

    def is_due(self, now: float) -> bool:
        """Whether it is to be tried at this time, in milliseconds since 1970."""
        return 0 < self.next <= now


@attrs.frozen(kw_only=True)
class Facts:
    """What people are told of a parked key, and what finds its partition when there are others.

    Attributes:
        key: the key, as text.
        hash: the number that the stream's hasher gives for it.
        error: the exception, as ``type: text``; empty if somebody parked it by hand.
        traceback: as Python prints it.
        reason: why it was parked by hand.
        by: who parked it: a worker's id, or whoever did it by hand.
    """

    key: str
    hash: int
    error: str = ""
    traceback: str = ""
    reason: str = ""
    by: str = ""


def write_value(head: Head, facts: Facts) -> bytes:
    """The value of a key in the hash of keys.

    Example:
        >>> write_value(Head(1, 2), Facts(key="Ada", hash=7))
        b'1 2 0 0 0 0 {"hash": 7, "key": "Ada"}'
    """
    return head.text + b" " + facts_text(facts)


def facts_text(facts: Facts) -> bytes:
    """The facts as JSON, without those that say nothing."""
    plain = {name: value for name, value in attrs.asdict(facts).items() if value != "" or name == "key"}
    return json.dumps(plain, sort_keys=True).encode()


def parse_value(value: bytes) -> tuple[Head, Facts]:
    """What `write_value` wrote.

    Raises:
        ValueError: it is nothing of the kind.

    Example:
        >>> parse_value(b'1 2 0 0 0 0 {"hash": 7, "key": "Ada"}')[1].key
        'Ada'
    """
    *head, facts = value.split(b" ", 6)
    plain: dict[str, Any] = json.loads(facts)
    try:
        known = Facts(
            key=str(plain["key"]),
            hash=int(plain["hash"]),
            error=str(plain.get("error", "")),
            traceback=str(plain.get("traceback", "")),
            reason=str(plain.get("reason", "")),
            by=str(plain.get("by", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{plain!r} are no facts of a parked key") from error
    return Head.parse(b" ".join(head)), known


def entry_name(number: int, key: bytes) -> bytes:
    """The field of an entry in the hash of entries.

    Example:
        >>> entry_name(3, b"sAda")
        b'3:sAda'
    """
    return b"%d:%b" % (number, key)


def pack_entry(xid: bytes, fields: Sequence[bytes]) -> bytes:
    """An entry as it is kept: its id, then each name and value as a netstring.

    Example:
        >>> pack_entry(b"1764330000000-0", [b"amount", b"12"])
        b'1764330000000-0 6:amount,2:12,'
    """
    return xid + b" " + pack_fields(fields)


def unpack_entry(packed: bytes) -> tuple[bytes, list[bytes]]:
    """What `pack_entry` wrote.

    Raises:
        ValueError: it is nothing of the kind.

    Example:
        >>> unpack_entry(b"1764330000000-0 6:amount,2:12,")
        (b'1764330000000-0', [b'amount', b'12'])
    """
    xid, blank, rest = packed.partition(b" ")
    if not blank:
        raise ValueError(f"{packed[:80]!r} is no packed entry")
    return xid, unpack_fields(rest)


def pack_fields(fields: Sequence[bytes]) -> bytes:
    """Names and values in turn, each as a netstring.

    Example:
        >>> pack_fields([b"amount", b"12"])
        b'6:amount,2:12,'
    """
    return b"".join([b"%d:%b," % (len(part), part) for part in fields])


def unpack_fields(packed: bytes) -> list[bytes]:
    """What `pack_fields` wrote.

    Raises:
        ValueError: it is nothing of the kind.

    Example:
        >>> unpack_fields(b"6:amount,2:12,")
        [b'amount', b'12']
    """
    at = 0
    fields: list[bytes] = []
    while at < len(packed):
        colon = packed.index(b":", at)
        size, begin = int(packed[at:colon]), colon + 1
        at = begin + size + 1
        if packed[at - 1 : at] != b",":
            raise ValueError(f"{packed[:80]!r} is no packed entry")
        fields.append(packed[begin : at - 1])
    return fields
