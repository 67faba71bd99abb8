"""What happened, as those wrote it down who did it, and whether that may happen.

Three witnesses are compared, none of which is the library's own word: a file to which every worker appends
what it handled and how its commits were answered; what the server has stored; and the server's journal
(its append-only file), which holds every change in the order in which it was made.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

Key = tuple[str, int]
Stored = Mapping[int, Sequence[tuple[bytes, Mapping[bytes, bytes]]]]


@attrs.frozen
class Handled:
    """One iteration that came to its end."""

    partition: int
    epoch: int
    owner: str
    xid: str
    key: str
    seq: int


@attrs.frozen
class Committed:
    """The answer to one commit."""

    partition: int
    epoch: int
    owner: str
    previous: str
    last: str
    outcome: str


@attrs.frozen
class Diary:
    """The file of the workers; each line is appended at once, by whichever process."""

    path: Path

    def write(self, kind: str, *words: object) -> None:
        """Append a line, all of it or nothing."""
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(file, f"{' '.join(map(str, (kind, *words)))}\n".encode())
        finally:
            os.close(file)

    def handled(self) -> list[Handled]:
        """Every iteration that ended, as they ended."""
        return [
            Handled(int(number), int(epoch), owner, xid, key, int(seq))
            for number, epoch, owner, xid, key, seq in self._lines("handled")
        ]

    def commits(self) -> list[Committed]:
        """Every commit that was answered, as the answers came."""
        return [
            Committed(int(number), int(epoch), *rest) for number, epoch, *rest in self._lines("committed")
        ]

    def count(self) -> int:
        """How many iterations ended."""
        return len(self._lines("handled"))

    def _lines(self, kind: str) -> list[list[str]]:
        if not self.path.exists():
            return []
        lines = (line.split(" ") for line in self.path.read_text().splitlines())
        return [words for what, *words in lines if what == kind]


@attrs.frozen
class Move:
    """A cursor that the server has moved, while that epoch held."""

    partition: int
    epoch: int
    last: str


@attrs.frozen
class Journal:
    """What the append-only file says of one processor.

    Attributes:
        moves: of cursors, in their order.
        starts: (partition, epoch) → where the cursor was when that epoch began.
        owners: (partition, epoch) → who it belonged to.
    """

    moves: list[Move] = attrs.field(factory=list)
    starts: dict[tuple[int, int], str] = attrs.field(factory=dict)
    owners: dict[tuple[int, int], str] = attrs.field(factory=dict)

    @classmethod
    def read(cls, paths: Iterable[Path], processor: str = "note") -> Journal:
        journal = cls()
        epochs: dict[int, int] = defaultdict(int)
        cursors: dict[int, str] = defaultdict(lambda: "0-0")
        for path in paths:
            for words in commands(path.read_bytes()):
                journal._note(words, processor, epochs, cursors)
        return journal

    def _note(
        self, words: list[str], processor: str, epochs: dict[int, int], cursors: dict[int, str]
    ) -> None:
        match words:
            case ["XGROUP", "CREATE" | "SETID" as what, key, group, xid, *_] if group == processor:
                number = partition_of(key)
                cursors[number] = full(xid)
                if what == "SETID":
                    self.moves.append(Move(number, epochs[number], xid))
            case ["HSET", key, "owner", owner, "epoch", epoch, *_] if key.endswith(f":lease:{processor}"):
                number = partition_of(key)
                epochs[number] = int(epoch)
                self.starts[number, int(epoch)] = cursors[number]
                self.owners[number, int(epoch)] = owner


def full(xid: str) -> str:
    return xid if "-" in xid else f"{xid}-0"


def partition_of(key: str) -> int:
    return int(key.partition("}")[0].rpartition(":")[2])


def commands(data: bytes) -> Iterator[list[str]]:
    """The commands of an append-only file; what was cut off at its end is left out."""
    at = 0
    while at < len(data):
        end = data.find(b"\r\n", at)
        if end < 0:
            return
        count, at, words = int(data[at + 1 : end]), end + 2, []
        for _ in range(count):
            end = data.find(b"\r\n", at)
            if end < 0:
                return
            size = int(data[at + 1 : end])
            words.append(data[end + 2 : end + 2 + size].decode(errors="replace"))
            at = end + 2 + size + 2
        if at <= len(data):
            yield words


def number_of(xid: str) -> tuple[int, ...]:
    return tuple(map(int, xid.split("-")))


def records(stored: Stored) -> dict[int, list[tuple[str, str, int]]]:
    """Partition → id, key and number of every record."""

    def read(xid: bytes, fields: Mapping[bytes, bytes]) -> tuple[str, str, int]:
        record: dict[str, Any] = json.loads(fields[b"data"])
        return xid.decode(), record["key"], record["n"]

    return {number: [read(*entry) for entry in entries] for number, entries in stored.items()}


def check_lost(acked: Collection[Key], handled: Collection[Handled]) -> Iterator[str]:
    """L: whatever a sender was told is stored, was handled to its end."""
    missing = set(acked) - {(line.key, line.seq) for line in handled}
    if missing:
        yield f"L {len(missing)} of {len(acked)} lost: {sorted(missing)[:5]}"


def check_sent(acked: Collection[Key], stored: Stored) -> Iterator[str]:
    """P: every key's records are stored once, in the order in which they were sent."""
    found: dict[str, list[int]] = defaultdict(list)
    for entries in records(stored).values():
        for _, key, seq in entries:
            found[key].append(seq)
    for key, seqs in found.items():
        if seqs != sorted(set(seqs)):
            twice = sorted({seq for seq in seqs if seqs.count(seq) > 1})
            yield f"P {key}: stored out of order, or twice: {twice[:5]}"
    missing = set(acked) - {(key, seq) for key, seqs in found.items() for seq in seqs}
    if missing:
        yield f"P {len(missing)} acknowledged but not stored: {sorted(missing)[:5]}"


def runs(handled: Iterable[Handled]) -> dict[tuple[int, int], list[Handled]]:
    found: dict[tuple[int, int], list[Handled]] = defaultdict(list)
    for line in handled:
        found[line.partition, line.epoch].append(line)
    return dict(sorted(found.items()))


def check_order(handled: Collection[Handled], stored: Stored, journal: Journal | None) -> Iterator[str]:
    """O: each epoch handles what is stored behind the cursor it began with, one by one, none left out."""
    ids = {number: [xid for xid, _, _ in entries] for number, entries in records(stored).items()}
    reached: dict[int, int] = defaultdict(int)
    for (number, epoch), lines in runs(handled).items():
        there, mine = ids.get(number, []), [line.xid for line in lines]
        at = there.index(mine[0]) if mine[0] in there else -1
        if there[at : at + len(mine)] != mine:
            yield f"O partition {number}, epoch {epoch}: not in the order of the log"
        if at > reached[number]:
            yield f"O partition {number}, epoch {epoch}: left out {at - reached[number]}"
        reached[number] = max(reached[number], at + len(mine))
        start = journal and journal.starts.get((number, epoch))
        if start and at != sum(number_of(xid) <= number_of(start) for xid in there):
            yield f"O partition {number}, epoch {epoch}: begins at {mine[0]}, not behind {start}"


def check_single(
    handled: Collection[Handled], commits: Collection[Committed], journal: Journal
) -> Iterator[str]:
    """S: cursors rise, one owner per epoch, and a commit that was granted was made in its own epoch."""
    for (number, epoch), lines in runs(handled).items():
        if len({line.owner for line in lines}) > 1:
            yield f"S partition {number}: epoch {epoch} has more than one owner"
    last: dict[int, Move] = {}
    for move in journal.moves:
        before = last.get(move.partition)
        if before and (number_of(move.last) <= number_of(before.last) or move.epoch < before.epoch):
            yield f"S partition {move.partition}: the cursor went from {before} to {move}"
        last[move.partition] = move
    made = set(journal.moves)
    for commit in commits:
        if commit.outcome == "committed" and Move(commit.partition, commit.epoch, commit.last) not in made:
            yield f"S granted, but not in its epoch: {commit}"
        if journal.owners.get((commit.partition, commit.epoch), commit.owner) != commit.owner:
            yield f"S by another than the epoch's owner: {commit}"


def repeated(handled: Collection[Handled]) -> int:
    return len(handled) - len({(line.partition, line.xid, line.seq) for line in handled})


def check_repeats(handled: Collection[Handled], most: int) -> Iterator[str]:
    """D: no more is handled again than can have been unacknowledged."""
    if repeated(handled) > most:
        yield f"D {repeated(handled)} repeated, and at most {most} may be"


def check_groups(groups: Mapping[int, Sequence[Mapping[str, Any]]]) -> Iterator[str]:
    """G: everything is acknowledged, and the server can count it."""
    for number, found in groups.items():
        for group in found:
            if (group["lag"], group["pending"]) != (0, 0):
                yield f"G partition {number}: {group}"
