"""The partition that a record belongs to: the hash of its key, modulo the number of partitions.

Keys repeat, and most are numbers or strings, so their results are cached and looked up at C speed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import attrs

from runnel_trio._codec import SIMPLE_KEYS, blake3_hasher
from runnel_trio._report._words import described
from runnel_trio.exceptions import Misconfigured

__all__ = ["Numbering", "key_function"]

#: The most keys of one type whose partition numbers are cached.
_KEPT = 1 << 14


def key_function(partition_by: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A record → its partition key."""
    if callable(partition_by):
        return partition_by
    return attrgetter(partition_by)


@attrs.frozen(eq=False)
class Numbering:
    """Numbers of partitions for the records of one stream.

    Attributes:
        stream: its name, for messages.
        key_of: record → partition key.
        hasher: partition key → whole number.
        count: how many partitions there are.
    """

    stream: str
    key_of: Callable[[Any], Any]
    hasher: Callable[[Any], int]
    count: int
    _known: dict[type, dict[Any, int]] = attrs.field(factory=dict, init=False)
    _told: list[str] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        if self.hasher is blake3_hasher:  # a user's hasher may answer differently each time
            self._known.update((kind, {}) for kind in SIMPLE_KEYS)

    def one(self, record: Any) -> int:
        """The number for a record.

        Raises:
            Misconfigured: the hasher does not return a whole number.
        """
        key = self.key_of(record)
        known = self._known.get(key.__class__)
        if known is None:
            return self._number(record, key)
        number = known.get(key)
        return self._learned(known, [record], [key])[0] if number is None else number

    def all(self, records: Sequence[Any]) -> list[int]:
        """The numbers for records, in their order; raises what `one` raises."""
        keys = list(map(self.key_of, records))
        kinds = set(map(type, keys))
        known = self._known.get(kinds.pop()) if len(kinds) == 1 else None
        if known is None:
            return list(map(self._number, records, keys))
        try:
            return list(map(known.__getitem__, keys))
        except KeyError:
            return self._learned(known, records, keys)

    def _learned(self, known: dict[Any, int], records: Sequence[Any], keys: list[Any]) -> list[int]:
        """The numbers for records, with new keys added to the cache."""
        if len(known) > _KEPT:
            known.clear()
        for record, key in zip(records, keys, strict=True):
            if key not in known:
                known[key] = self._number(record, key)
        return [known[key] for key in keys]

    def _number(self, record: Any, key: Any) -> int:
        if key is None and not self._told:
            self._told.append(self.stream)
            _warn_of_none(self.stream, type(record).__name__)
        hashed = self.hasher(key)
        if not isinstance(hashed, int):
            raise Misconfigured(
                f"stream {self.stream!r}: its hasher must give a whole number, not {described(hashed)}"
            )
        return hashed % self.count


def _warn_of_none(stream: str, record: str) -> None:
    warnings.warn(
        f"stream {stream!r}: the partition key of a {record} is None. All such records go to one partition, "
        "where they wait for each other: give them a key, or a constant if it is meant",
        RuntimeWarning,
        stacklevel=2,
    )
