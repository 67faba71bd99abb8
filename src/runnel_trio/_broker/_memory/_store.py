"""What the memory broker keeps in place of a server: logs, cursors, leases, members.

Plain values without any decisions; the verbs of the broker change them between two checkpoints.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush

import attrs
import trio

from runnel_trio._broker._seen import Ending, Standing, Surveyed
from runnel_trio._broker._values import (
    Entry,
    Lease,
    Member,
    Membership,
    OutboxRecord,
    ParkedChange,
    Party,
    ProcessorSpec,
    Quarantine,
    StreamSpec,
    TableWrites,
)
from runnel_trio._rules._ahead import read_ahead
from runnel_trio._rules._cursor import ORIGIN, LogState, parse_id
from runnel_trio._rules._layout import Meta
from runnel_trio._rules._membership import PartyState
from runnel_trio._rules._overflow import slowest
from runnel_trio._rules._parked import Head
from runnel_trio._rules._tables import deadline_of, living

__all__ = ["Group", "Holding", "Log", "Store", "key_of"]

#: So many entries of a table that are over are removed at a time.
_SWEPT = 100
#: So many entries are kept of what is told to a party.
_NEWS = 256


def key_of(stream: StreamSpec, number: int) -> str:
    """Under which the log of a partition is kept."""
    layout = "" if stream.layout == 1 else f"/{stream.layout}"
    return f"{stream.app}:{number}:{stream.name}{layout}:log"


@attrs.define(eq=False)
class Group:
    cursor: bytes = ORIGIN
    entries_read: int = 0


@attrs.define(eq=False)
class Holding:
    owner: str = ""
    epoch: int = 0
    commit: int = 0
    read_to: bytes = ORIGIN
    entries_read: int | None = None
    attempts: tuple[bytes, int] = (ORIGIN, 0)
    ahead: bytes = b""
    clean: bool = True
    touched: int = 0

    def is_held(self, lease: Lease) -> bool:
        return (self.owner, self.epoch) == (lease.owner, lease.epoch)


@attrs.define(eq=False)
class ParkedList:
    head: Head
    facts: bytes
    entries: dict[int, bytes] = attrs.field(factory=dict)


@attrs.define(eq=False)
class StoredTable:
    entries: dict[bytes, bytes] = attrs.field(factory=dict)
    due: list[tuple[int, bytes]] = attrs.field(factory=list)

    def change(self, changes: Mapping[bytes, bytes | None]) -> None:
        for field, value in changes.items():
            if value is None:
                self.entries.pop(field, None)
                continue
            self.entries[field] = value
            if deadline := deadline_of(value):
                heappush(self.due, (deadline, field))

    def sweep(self, now: int) -> None:
        for _ in range(_SWEPT):
            if not self.due or self.due[0][0] > now:
                break
            _, field = heappop(self.due)
            if living(self.entries.get(field), now) is None:
                self.entries.pop(field, None)


@attrs.define(eq=False)
class Log:
    entries: list[Entry] = attrs.field(factory=list)
    ids: list[tuple[int, int]] = attrs.field(factory=list)
    added: int = 0
    last_id: tuple[int, int] = (0, 0)
    groups: dict[str, Group] = attrs.field(factory=dict)
    leases: dict[str, Holding] = attrs.field(factory=dict)
    quarantines: dict[str, Quarantine] = attrs.field(factory=dict)
    parked: dict[str, dict[bytes, ParkedList]] = attrs.field(factory=dict)
    outboxes: dict[str, list[OutboxRecord]] = attrs.field(factory=dict)
    last_in_outbox: dict[str, bytes] = attrs.field(factory=dict)
    relayed: dict[tuple[ProcessorSpec, int], tuple[int, int]] = attrs.field(factory=dict)
    tables: dict[str, dict[str, StoredTable]] = attrs.field(factory=dict)

    def lease(self, processor: ProcessorSpec) -> Holding:
        return self.leases.setdefault(processor.name, Holding())

    def add(self, xid: tuple[int, int], fields: Sequence[bytes]) -> None:
        self.last_id = xid
        self.added += 1
        self.ids.append(xid)
        self.entries.append((b"%d-%d" % xid, tuple(fields)))

    def drop(self, count: int) -> None:
        del self.entries[:count], self.ids[:count]

    def after(self, xid: bytes, count: int) -> Sequence[Entry]:
        at = bisect_right(self.ids, parse_id(xid))
        return self.entries[at : at + count]

    def count_after(self, xid: bytes) -> int:
        return len(self.ids) - bisect_right(self.ids, parse_id(xid))

    def remove(self, xid: bytes) -> bool:
        at = bisect_left(self.ids, parse_id(xid))
        there = self.ids[at : at + 1] == [parse_id(xid)]
        if there:
            del self.ids[at], self.entries[at]
        return there

    def next_id(self) -> tuple[int, int]:
        now = (max(0, int(trio.current_time() * 1000)), 0)
        return now if now > self.last_id else (self.last_id[0], self.last_id[1] + 1)

    def ensure_group(self, name: str) -> int:
        """Make a group at the start, if there is none, by the rule that scripts/_state.lua explains."""
        if name in self.groups:
            return -1
        gone = self.added - len(self.entries)
        lease = self.leases.get(name)
        read = lease.entries_read if lease is not None else None
        self.groups[name] = Group(entries_read=gone if read is None or read < 0 else min(gone, read))
        return gone if read is None else 0

    def forget(self, name: str) -> bool:
        self.leases.pop(name, None)
        self.quarantines.pop(name, None)
        self.parked.pop(name, None)
        self.outboxes.pop(name, None)
        self.tables.pop(name, None)
        return self.groups.pop(name, None) is not None

    def outbox(self, name: str) -> list[OutboxRecord]:
        return self.outboxes.setdefault(name, [])

    def heads(self, name: str) -> dict[bytes, Head]:
        return {key: x.head for key, x in self.parked.get(name, {}).items()}

    def change_parked(self, name: str, changes: Sequence[ParkedChange]) -> None:
        lists = self.parked.setdefault(name, {})
        for change in changes:
            if change.now is None:
                lists.pop(change.key, None)
                continue
            kept = lists.setdefault(change.key, ParkedList(change.now, b""))
            last = change.seen.last if change.seen else 0
            kept.entries |= dict(enumerate(change.entries, last + 1))
            kept.entries = {n: x for n, x in kept.entries.items() if n >= change.now.first}
            kept.head, kept.facts = change.now, change.facts or kept.facts

    def write_tables(self, name: str, tables: Sequence[TableWrites], now: int) -> None:
        for writes in tables:
            own = self.tables.setdefault(name, {})
            if writes.name in own or any(value is not None for value in writes.changes.values()):
                table = own.setdefault(writes.name, StoredTable())
                table.change(writes.changes)
                if writes.expires:
                    table.sweep(now)

    def make_room(self) -> None:
        cursor = slowest(group.cursor for group in self.groups.values())
        if cursor is not None:
            self.drop(bisect_right(self.ids, parse_id(cursor)))

    def surveyed(self, number: int) -> Surveyed:
        return Surveyed(
            number=number,
            length=len(self.entries),
            entries_added=self.added,
            first_id=b"%d-%d" % self.ids[0] if self.ids else ORIGIN,
            last_id=b"%d-%d" % self.last_id,
            size=sum(len(xid) + sum(map(len, fields)) for xid, fields in self.entries),
            processors={name: self._standing(name, group) for name, group in self.groups.items()},
        )

    def _standing(self, name: str, group: Group) -> Standing:
        holding = self.leases.get(name, Holding())
        following = self.after(group.cursor, 1)
        ahead = read_ahead(holding.ahead, group.cursor)
        return Standing(
            cursor=group.cursor,
            lag=max(0, self.added - group.entries_read - ahead.count) if group.entries_read >= 0 else -1,
            ahead=ahead,
            next_id=following[0][0] if following else ORIGIN,
            owner=holding.owner,
            epoch=holding.epoch,
            quarantine=self.quarantines.get(name),
            parked_keys=len(self.parked.get(name, {})),
            parked=sum(len(x.entries) for x in self.parked.get(name, {}).values()),
        )

    def state(self, name: str) -> LogState:
        """The state for a group; for one that is not there, before everything."""
        group = self.groups.get(name, Group())
        return LogState(
            cursor=group.cursor,
            entries_read=group.entries_read,
            length=len(self.entries),
            entries_added=self.added,
            last_id=b"%d-%d" % self.last_id,
            max_deleted=ORIGIN,
            first_id=b"%d-%d" % self.ids[0] if self.ids else ORIGIN,
            newest=b"%d-%d" % self.ids[-1] if self.ids else ORIGIN,
        )


@attrs.define(eq=False)
class Store:
    """What a server keeps.

    Attributes:
        switched: app, stream, number of a partition → the layout that it takes entries for, if it is not 1.
        parties: what is kept of their members; what these are told stands in logs of their own.
        began: the time of day at which Trio's clock was 0, in seconds since 1970.
    """

    began: float | None = None
    streams: dict[tuple[str, str], StreamSpec] = attrs.field(factory=dict)
    metas: dict[tuple[str, str], Meta] = attrs.field(factory=dict)
    switched: dict[tuple[str, str, int], int] = attrs.field(factory=dict)
    logs: dict[str, Log] = attrs.field(factory=dict)
    parties: dict[Party, PartyState] = attrs.field(factory=dict)
    controls: dict[Party, Log] = attrs.field(factory=dict)
    endings: dict[str, list[Ending]] = attrs.field(factory=dict)
    _appended: trio.Event = attrs.field(factory=trio.Event)

    def log(self, key: str) -> Log:
        """A partition's log, made when it is first asked for."""
        if key not in self.logs:
            self.logs[key] = Log()
        return self.logs[key]

    def log_of(self, stream: StreamSpec, number: int) -> Log:
        """The log of a stream's partition."""
        return self.log(key_of(stream, number))

    def control(self, party: Party) -> Log:
        """What the members of a party are told."""
        return self.controls.setdefault(party, Log())

    def tell(self, party: Party, what: str, value: str) -> None:
        """Tell the members of a party something."""
        log = self.control(party)
        log.add((0, log.added + 1), (what.encode(), value.encode()))
        log.drop(max(0, len(log.entries) - _NEWS))
        self.announce()

    def change(self, party: Party, change: tuple[PartyState, Sequence[str]]) -> None:
        """Keep a new state of a party, and tell its members what has changed."""
        self.parties[party], news = change
        for what in news:
            self.tell(party, "changed", what)

    def party(self, party: Party) -> PartyState:
        """What is kept of a party's members."""
        return self.parties.get(party) or PartyState()

    def forget(self, party: Party) -> None:
        """Forget members and plan, and what they were told."""
        self.parties.pop(party, None)
        self.controls.pop(party, None)

    def view(self, party: Party, member: str = "") -> Membership:
        """A party as one of its members sees it."""
        kept = self.party(party)
        mine = kept.members.get(member)
        return Membership(
            generation=kept.generation,
            members=tuple(
                Member(name, x.beat, x.expiry, x.leaving, x.about) for name, x in kept.members.items()
            ),
            joined_as=mine.joined_as if mine else 0,
            planned=kept.planned,
            plan=kept.plan,
            news=b"%d-%d" % self.control(party).last_id,
        )

    def time_of_day(self) -> float:
        """The time of day by Trio's clock, which was right when it was first asked for."""
        now = trio.current_time()
        if self.began is None:
            self.began = time.time() - now
        return self.began + now

    def takes(self, stream: StreamSpec, number: int) -> bool:
        """Whether a partition takes entries for this layout of the stream."""
        return self.switched.get((stream.app, stream.name, number), 1) == stream.layout

    def announce(self) -> None:
        """Wake the readers."""
        self._appended.set()
        self._appended = trio.Event()

    @property
    def appended(self) -> trio.Event:
        """Set when something is stored next, from now on."""
        return self._appended
