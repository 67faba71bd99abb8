"""The layouts of a stream, and how it moves from one layout to the next.

A layout is a number, which only rises, and a partition count. Each has its own logs, leases and parties.

    ALONE ──begun──▶ NEXT IS KNOWN ──all switched, opened──▶ THE FORMER ONE DRAINS ──finished──▶ ALONE

- **A partition number is switched** by one step in its own slot: from then on, it takes entries only for the
  next layout. So the switch also seals the old partition of that number.
- **Each processor with a cursor in the former layout gets one in the next before that takes entries.**
  Without a group, it would be unknown that the processor still needs an entry, and the entry could be
  trimmed. A new processor that gets its cursors during a change checks again afterwards: it then completes
  the change, or finds the next layout open and gets its cursors there too (`_subscription.subscribe`).
- **No sender writes to the next layout before it is opened**, and it is opened when every partition is
  switched. So a key's entries in the new layout were all sent after its entries in the old one.
- **Any process that meets a half-finished change completes it**: each step is safe to repeat, so it does not
  matter which process began, or whether it is still alive.
- **Lost facts are written again.** A failover may lose a part of the meta. A process that declares the stream
  fills the gaps, and the first one wins. The count is only written by a process that knows its layout.
- **The higher number wins.** A process that knows of a layout that the server has forgotten (FLUSHALL, a
  failover that lost writes) makes it the next one again.
- **There are at most two layouts.** The next change can begin when the former layout is deleted, which
  happens when everything in it is acknowledged.
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
