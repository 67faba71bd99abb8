"""What happens in the same step that acknowledges an event, and never without it.

An effect belongs to the number of its event. It joins when the event is done, leaves with the commit that
acknowledges the event, and is gone for good when that commit is on the server. What a call of the function
has prepared for an event that then fails never joins. So an effect happens exactly once for each
acknowledged event, whoever commits it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from runnel_trio._broker._values import Output, StreamSpec

__all__ = ["Effects"]


@attrs.define(eq=False)
class Effects:
    """The effects of one partition's events that are done and not yet committed."""

    _outputs: list[tuple[int, Output]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self._outputs)

    @property
    def outputs(self) -> list[Output]:
        """All outputs, in the order in which their events were done."""
        return [output for _, output in self._outputs]

    def join(self, number: int, outputs: Sequence[Output]) -> None:
        """The event of this number is done, and these are its outputs."""
        self._outputs += [(number, output) for output in outputs]

    def of(self, holds: Callable[[int], bool]) -> tuple[Output, ...]:
        """What a commit carries that acknowledges the events of whose numbers this is true."""
        return tuple(output for number, output in self._outputs if holds(number))

    def forget(self, holds: Callable[[int], bool]) -> None:
        """A commit of these events is on the server, and so are their effects."""
        self._outputs = [x for x in self._outputs if not holds(x[0])]

    def redirect(self, current: Mapping[StreamSpec, StreamSpec], source: int) -> bool:
        """Send outputs of partition ``source`` to their streams' present partitions; whether any moved."""
        before = self._outputs
        self._outputs = [
            (number, output.redirected(current.get(output.stream, output.stream), source))
            for number, output in before
        ]
        return self._outputs != before
