"""What an owner knows of the parked keys of its partition, and what its next commit does to them.

    handled ──fails──▶ parked ──due, or an operator says so──▶ replayed ──all are handled──▶ free
                         ▲                                        │
                         └────────────────fails───────────────────┘

A parked key's events that come later are moved aside: each joins the key's list on the server, in the commit
that moves past it. So the list has them all in order, and the log may trim them. An event of the list is
*replayed* (`_partition/_replays.py`): handed out like any other, and removed from the list by the commit that
acknowledges it. The commit that removes the last one frees the key.

Each change belongs to the number of an event, as other effects do. A replayed event has a negative one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TypeAlias

import attrs

from runnel_trio._broker._values import ParkedChange
from runnel_trio._event import Event
from runnel_trio._rules._parked import Facts, Head, facts_text, pack_entry

__all__ = ["LISTS", "Failed", "ParkedKeys"]

#: Of how many lists some is in memory.
LISTS = 64

#: When a list is due that somebody has dropped while events were on their way to it: at once.
_AT_ONCE = 1


def _nothing(keys: Collection[bytes]) -> None:
    """Nobody wants to know."""


def _untold(_: Event) -> Facts:
    """The default, where nothing can be parked."""
    return Facts(key="", hash=0)


def _is_another(head: Head | None, before: Head | None) -> bool:
    """Whether the list was dropped that was there before, whatever is there now."""
    return before is not None and (head is None or head.last < before.last)


@attrs.frozen
class Failed:
    """The failure that an event is parked over.

    Attributes:
        facts: what people are told.
        attempts: how often the event was tried.
        next: when it is tried again, in milliseconds since 1970; 0: when somebody says so.
    """

    facts: Facts
    attempts: int
    next: int


@attrs.frozen
class _Append:
    """An event joins its key's list; the first one of a list says why there is one."""

    event: Event
    failed: Failed | None = None


@attrs.frozen
class _Pop:
    """The first entry was handled."""

    entry: int


@attrs.frozen
class _Keep:
    """The first entry has failed again."""

    entry: int
    failed: Failed


@attrs.frozen
class _Free:
    """There is no entry, and nobody holds the key any more."""


@attrs.frozen
class _Move:
    """The list as this head has it was copied to the next layout."""

    head: Head


_Effect: TypeAlias = _Append | _Pop | _Keep | _Free | _Move


@attrs.define(eq=False)
class _Draft:
    """One key's list while a commit is composed."""

    seen: Head | None
    describe: Callable[[Event], Facts]
    now: Callable[[], int]
    head: Head = attrs.field(init=False)
    entries: list[bytes] = attrs.field(factory=list, init=False)
    facts: bytes = attrs.field(default=b"", init=False)
    is_free: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.head, self.is_free = self.seen or Head(), self.seen is None

    def apply(self, effect: _Effect) -> None:
        """Let an effect follow those before it; what an operator has removed or holds meanwhile stays so."""
        head = self.head
        if isinstance(effect, _Append):
            self._append(effect.event, effect.failed)
        elif isinstance(effect, _Free):
            self.is_free = not (head.count or self.is_held)
        elif isinstance(effect, _Move):
            self.is_free = head == effect.head  # else it is copied once more
        elif head.count and effect.entry == head.first:
            if isinstance(effect, _Pop):
                self.head = attrs.evolve(head, first=head.first + 1, attempts=0, rounds=0)
                self.is_free = not (self.head.count or self.is_held)
            else:
                self._keep(effect.failed)

    @property
    def is_held(self) -> bool:
        """Whether an operator has said meanwhile that it is not to be tried: then only he frees it."""
        return not self.head.next

    def _keep(self, failed: Failed) -> None:
        again = 0 if self.is_held else failed.next
        if not self.is_held:
            self.facts = facts_text(failed.facts)
        rounds = self.head.rounds + 1
        self.head = attrs.evolve(self.head, attempts=failed.attempts, rounds=rounds, next=again)

    def _append(self, event: Event, failed: Failed | None) -> None:
        head = self.head
        if self.is_free:
            failed = failed or Failed(self.describe(event), 0, _AT_ONCE)
            self.facts, self.is_free = facts_text(failed.facts), False
            head = Head(head.last + 1, head.last, failed.attempts, 1, failed.next, self.now())
        self.entries.append(pack_entry(event.xid, event._fields))  # as it is stored
        self.head = attrs.evolve(head, last=head.last + 1)

    def change(self, key: bytes) -> ParkedChange:
        return ParkedChange(key, self.seen, None if self.is_free else self.head, self.entries, self.facts)


@attrs.define(eq=False, kw_only=True)
class ParkedKeys:
    """The parked keys of one partition.

    Attributes:
        describe: what people are told of an event's key.
        now: the time of day, in milliseconds since 1970.
        most: how many entries may be parked.
        heads: the head of each key's list, as the server had it after the last commit.
        aside: the keys whose events are moved aside when they come from the log.
        is_stale: whether somebody else may have changed a list: the committer asks for the heads again.
        on_change: called with the keys whose heads have changed.
    """

    describe: Callable[[Event], Facts] = _untold
    now: Callable[[], int] = int
    most: int = 0
    heads: dict[bytes, Head] = attrs.field(factory=dict, init=False)
    aside: set[bytes] = attrs.field(factory=set, init=False)
    is_stale: bool = attrs.field(default=False, init=False)
    on_change: Callable[[Collection[bytes]], None] = attrs.field(default=_nothing, init=False)
    _effects: list[tuple[int, bytes, _Effect]] = attrs.field(factory=list, init=False)
    _arriving: dict[bytes, int] = attrs.field(factory=dict, init=False)
    _sent: Mapping[bytes, Head | None] = attrs.field(factory=dict, init=False)
    _followed: set[bytes] = attrs.field(factory=set, init=False)
    _popped: dict[bytes, int] = attrs.field(factory=dict, init=False)
    _stored: int = attrs.field(default=0, init=False)
    _coming: int = attrs.field(default=0, init=False)

    def __bool__(self) -> bool:
        """Whether the next commit has anything to change."""
        return bool(self._effects)

    @property
    def count(self) -> int:
        """How many entries are parked, with those that the next commits bring."""
        return self._stored + self._coming

    def has_room(self, entries: int = 1) -> bool:
        """Whether so many more entries may be parked."""
        return self.count + entries <= self.most

    def is_arriving(self, key: bytes) -> bool:
        """Whether entries of its list are still to be brought to the server by a commit."""
        return key in self._arriving

    def next_entry(self, key: bytes) -> int:
        """The number of the first entry of its list that was not handled, committed or not."""
        return max(self.heads[key].first, self._popped.get(key, 0) + 1)

    def park(self, number: int, key: bytes, event: Event, failed: Failed) -> None:
        """An event of the log has failed: its key is parked, and it is the first of the list."""
        first = key not in self.aside  # else one before it was, of a list of events that has failed
        self.hold(key)
        self._join(number, key, _Append(event, failed if first else None))

    def move_aside(self, number: int, key: bytes, event: Event) -> None:
        """An event of the log joins the list of its key, and whatever comes later does."""
        self.hold(key)  # it may have waited for room, and its list may have been dropped meanwhile
        self._join(number, key, _Append(event))

    def pop(self, number: int, key: bytes, entry: int) -> None:
        """A replayed event was handled."""
        self._popped[key] = entry
        self._join(number, key, _Pop(entry))

    def keep(self, number: int, key: bytes, entry: int, failed: Failed) -> None:
        """A replayed event has failed."""
        self.hold(key)
        self._join(number, key, _Keep(entry, failed))

    def free(self, number: int, key: bytes) -> None:
        """A list without entries is due."""
        self._join(number, key, _Free())

    def move(self, number: int, key: bytes, head: Head) -> None:
        """A list was copied to the next layout, as this head has it."""
        self._join(number, key, _Move(head))

    def follow(self, key: bytes) -> None:
        """All of its list is in memory: its events in the log come behind that, and stay where they are."""
        self.aside.discard(key)
        self._followed.add(key)

    def hold(self, key: bytes) -> None:
        """Its events are moved aside from now on."""
        self._followed.discard(key)
        self.aside.add(key)

    def changes(self, holds: Callable[[int], bool]) -> tuple[ParkedChange, ...]:
        """What a commit carries that acknowledges the events of whose numbers this is true."""
        drafts: dict[bytes, _Draft] = {}
        for number, key, effect in self._effects:
            if holds(number):
                if key not in drafts:
                    drafts[key] = _Draft(self.heads.get(key), self.describe, self.now)
                drafts[key].apply(effect)
        changes = [draft.change(key) for key, draft in drafts.items()]
        self._sent = {change.key: change.now for change in changes}
        return tuple(change for change in changes if change.seen or change.now)

    def forget(self, holds: Callable[[int], bool]) -> int:
        """A commit of these events is on the server, and so are its changes.

        Returns:
            How many of them were not handled: events that were parked, and lists that were free without one.
        """
        left, unhandled = [], 0
        for joined in self._effects:
            number, key, effect = joined
            if not holds(number):
                left.append(joined)
                continue
            unhandled += not isinstance(effect, _Pop)
            if isinstance(effect, _Append):
                self._coming -= 1
                self._arriving[key] -= 1
                if not self._arriving[key]:
                    del self._arriving[key]
        self._effects = left
        changed, self._sent = self._sent, {}
        for key, head in changed.items():
            before = self.heads.pop(key, None)
            if head is None or head.first > self._popped.get(key, 0):
                self._popped.pop(key, None)
            self._stored -= before.count if before else 0
            if head is not None:
                self.heads[key] = head
                self._stored += head.count
            else:
                self._followed.discard(key)
        self.on_change(changed)
        return unhandled

    def refresh(self, heads: Mapping[bytes, Head]) -> None:
        """The server has these heads: those that differ were changed by an operator."""
        self.is_stale = False
        changed = {key for key in self.heads.keys() | heads.keys() if self.heads.get(key) != heads.get(key)}
        self._forget_dropped({key for key in changed if _is_another(heads.get(key), self.heads.get(key))})
        self.heads = dict(heads)
        self._stored = sum(head.count for head in heads.values())
        self._followed = {key for key in self._followed if key in heads and heads[key].next}
        self.aside.clear()  # in place: others look at the same set
        self.aside.update(self.heads.keys() - self._followed, self._arriving)
        self.on_change(changed)

    def _forget_dropped(self, keys: set[bytes]) -> None:
        """Of lists that were dropped only what is to join one is left: a new one is numbered from 1 again."""
        if keys:
            self._effects = [x for x in self._effects if x[1] not in keys or isinstance(x[2], _Append)]
            self._popped = {key: entry for key, entry in self._popped.items() if key not in keys}

    def _join(self, number: int, key: bytes, effect: _Effect) -> None:
        self._effects.append((number, key, effect))
        if isinstance(effect, _Append):
            self._coming += 1
            self._arriving[key] = self._arriving.get(key, 0) + 1
