"""How a stream's partitions are laid out, and how it goes from one layout to the next.

A layout is a number, which only rises, and a count of partitions. Each has logs, leases, parties of its own.

    ALONE ──begun──▶ NEXT IS KNOWN ──all switched, opened──▶ THE FORMER ONE DRAINS ──finished──▶ ALONE

- **A partition number is switched** by one step in its own slot: from then on it takes entries for the next
  layout only. So the switch is the seal of the old partition of that number.
- **Who has a cursor in the former layout has one in the next before that takes entries**: of what is in no
  group yet, nobody knows who still needs it, and it could be trimmed. A processor that is new, and gets its
  cursors during a change, looks again afterwards: then it completes the change, or finds the next layout
  open and gets its cursors there, too (`_subscription.subscribe`).
- **Nobody writes to the next layout before it is opened**, and it is opened when every partition is switched.
  So what stands in the new one of a key was sent after everything that stands in the old one of it.
- **Whoever meets a half-made change completes it**: each step is safe to repeat, so it does not matter who
  began, and whether that one still lives.
- **What is lost is told again.** A failover may leave a part of what was known. Who declares the stream fills
  that, and the first one holds; a count only who knows of the layout that it belongs to.
- **The higher number holds.** Who knows of a layout that the server has forgotten (FLUSHALL, a failover that
  lost writes) makes it the next one again.
- **There are two layouts at most.** The next change begins when the former layout is gone, and that goes when
  everything in it is acknowledged.
"""

from __future__ import annotations

import attrs

__all__ = ["Meta", "begun", "declared", "disagreement", "finished", "opened"]


@attrs.frozen
class Meta:
    """What is known of a stream.

    Attributes:
        partition_count: of the layout that takes entries; 0: not known.
        record: the name of its record class; empty: not known.
        hasher: the name of its hasher; empty: not known.
        layout: the number of that layout.
        next: number and count of the layout that is about to be opened.
        draining: number and count of the former layout, while there is anything in it.
        former: counts that it had before.
    """

    partition_count: int = 0
    record: str = ""
    hasher: str = ""
    layout: int = 1
    next: tuple[int, int] | None = None
    draining: tuple[int, int] | None = None
    former: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether nothing is missing that was known once."""
        return bool(self.partition_count and self.record and self.hasher)


def declared(there: Meta, said: Meta) -> Meta:
    """What holds after somebody said what the stream is, as far as that one knows."""
    coming = there.next[0] if there.next else 0
    if not there.partition_count:
        if said.layout < max(there.layout, there.draining[0] + 1 if there.draining else 1):
            return there  # it speaks of another layout's count
        count, layout = said.partition_count, said.layout
        there = attrs.evolve(
            there, partition_count=count, layout=layout, next=there.next if coming > layout else None
        )
    elif said.layout > max(there.layout, coming):
        there = attrs.evolve(there, next=(said.layout, said.partition_count))
    return attrs.evolve(there, record=there.record or said.record, hasher=there.hasher or said.hasher)


def disagreement(meta: Meta, count: int, record: str, hasher: str) -> tuple[str, object, object] | None:
    """What was declared otherwise, what holds, and what was said; a former count is no disagreement."""
    for what, holds, said in (("record", meta.record, record), ("hasher", meta.hasher, hasher)):
        if holds != said:
            return what, holds, said
    if count not in {meta.partition_count, *meta.former}:
        return "partition_count", meta.partition_count, count
    return None


def begun(meta: Meta, layout: int, count: int) -> Meta:
    """A change to the next layout begins; nothing changes where that is not the next one, or too early."""
    if meta.partition_count and meta.layout + 1 == layout and meta.next is None and meta.draining is None:
        return attrs.evolve(meta, next=(layout, count))
    return meta


def opened(meta: Meta, layout: int) -> Meta:
    """Every partition is switched: the layout takes entries."""
    if not meta.partition_count or meta.next is None or meta.next[0] != layout:
        return meta
    return attrs.evolve(
        meta,
        partition_count=meta.next[1],
        layout=layout,
        next=None,
        draining=(meta.layout, meta.partition_count),
        former=meta.former | {meta.partition_count},
    )


def finished(meta: Meta, layout: int) -> Meta:
    """This former layout is gone."""
    return attrs.evolve(meta, draining=None) if meta.draining and meta.draining[0] == layout else meta
