"""Shows partitions that stand still, grouped by cause, and resumes them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import attrs

from runnel_trio._cli._errors import tell
from runnel_trio._operate._alike import alike, reason
from runnel_trio._operate._operator import Operator
from runnel_trio._operate._standing import Quarantined
from runnel_trio._processor import Processor
from runnel_trio._report._redaction import redacted_text
from runnel_trio._report._words import counted, numbered

__all__ = ["Resuming"]

#: The most events that one line names.
_NAMED = 8


@attrs.frozen
class Resuming:
    """One run of ``processor resume``.

    Attributes:
        operator: resumes the partitions.
        processor: whose partitions they are.
        skip: whether to acknowledge the events that failed.
        dead_letter: whether these become dead letters.
    """

    operator: Operator
    processor: Processor[Any]
    skip: bool = attrs.field(kw_only=True)
    dead_letter: bool = attrs.field(kw_only=True)

    async def run(self, found: Sequence[Quarantined], *, dry_run: bool) -> None:
        """Show what stands still, and resume it unless this is a dry run."""
        for group in alike(found, _reason):
            self._show(group)
            if not dry_run:
                await self._resume(group)
        if not found:
            tell("No partition stands still.")

    async def _resume(self, group: Sequence[Quarantined]) -> None:
        """Resume each partition by itself, so that one that has changed does not hold up the others."""
        done: list[Quarantined] = []
        changed: list[Quarantined] = []
        try:
            for why in group:
                there = await self.operator.resume(
                    self.processor.name, [why], skip=self.skip, dead_letter=self.dead_letter
                )
                (done if there else changed).append(why)
        finally:  # tell what was done even if the server went away in between
            if done:
                tell(f"{self._label(done)} {'goes' if len(done) == 1 else 'go'} on{self._without(done)}.")
            if changed:
                verb = "has" if len(changed) == 1 else "have"
                tell(f"{self._label(changed)} {verb} changed meanwhile; nothing was done. Look again.")

    def _without(self, done: Sequence[Quarantined]) -> str:
        count = sum(x.count for x in done)
        what = "it" if count == 1 else f"these {counted(count, 'event')}"
        if self.skip:
            return f", without {what}"
        return f"; {what} can be found among the dead letters" if self.dead_letter else ""

    def _label(self, group: Sequence[Quarantined]) -> str:
        return numbered(self.processor.stream.name, (x.partition for x in group))

    def _show(self, group: Sequence[Quarantined]) -> None:
        why, label = group[0], self._label(group)
        if why.is_pause:
            text = f": {why.error}" if why.error else ""
            tell(f"{label} {'was' if len(group) == 1 else 'were'} paused by {why.member} at {why.time}{text}")
            return
        verb = "stands" if len(group) == 1 else "stand"
        ids = ", ".join(map(_events, group[:_NAMED])) + (", …" if len(group) > _NAMED else "")
        since = min(x.time for x in group)
        tell(redacted_text(f"{label} {verb} still at {ids} since {since}: {why.error}"))
        tell(redacted_text("".join(f"    {line}\n" for line in why.traceback.splitlines()).rstrip()))


def _events(why: Quarantined) -> str:
    return why.first if why.count == 1 else f"{counted(why.count, 'event')} from {why.first}"


def _reason(why: Quarantined) -> Hashable:
    """The cause by which partitions are grouped: their `reason` and the traceback."""
    return reason(why.stored), why.traceback
