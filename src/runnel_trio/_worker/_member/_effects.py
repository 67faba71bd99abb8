"""What happens in the same step that acknowledges an event, and never without it.

An effect belongs to the number of its event. It joins when the event is done, leaves with the commit that
acknowledges the event, and is gone for good when that commit is on the server. What a call of the function
has prepared for an event that then fails never joins. So an effect happens exactly once for each
acknowledged event, whoever commits it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from runnel_trio._broker._values import Batch, OutboxRecord, Output, StreamSpec
from runnel_trio._stream import Stream

__all__ = ["Effects", "Emission"]


@attrs.frozen(eq=False)
class Emission:
    """A record that goes to another stream.

    Attributes:
        stream: where it goes.
        record: the record, which finds its partition again if the stream has got others.
        values: the values of its fields.
        number: its partition in the layout that the stream had.
        layout: that layout.
    """

    stream: Stream[Any]
    record: Any
    values: Sequence[bytes]
    number: int
    layout: int

    @classmethod
    def of(cls, stream: Stream[Any], record: Any) -> Emission:
        """A record, checked and encoded.

        Raises:
            RecordInvalid: it does not fit its types, or is too large.
            Misconfigured: its partition key cannot be hashed.
        """
        values = stream.codec.values([record])
        return cls(stream, record, values, stream.partition_of(record), stream.spec.layout)

    @property
    def place(self) -> tuple[StreamSpec, int]:
        """The stream as it is now, and the record's partition there."""
        spec = self.stream.spec
        return spec, self.number if spec.layout == self.layout else self.stream.partition_of(self.record)

    @property
    def outbox_record(self) -> OutboxRecord:
        """The record, for an outbox."""
        stream = self.stream
        fields = [part for field in zip(stream.codec.names, self.values, strict=True) for part in field]
        return OutboxRecord(stream.name, int(stream.hasher(stream.key_of(self.record))), fields)


@attrs.define(eq=False)
class Effects:
    """The effects of one partition's events that are done and not yet committed.

    Attributes:
        by_outbox: whether records are emitted by an outbox: their partitions may be on other nodes.
    """

    by_outbox: bool = False
    _effects: list[tuple[int, Output | Emission]] = attrs.field(factory=list)

    def __bool__(self) -> bool:
        return bool(self._effects)

    @property
    def numbers(self) -> list[int]:
        """The numbers of events that have outputs, in order."""
        return sorted({number for number, _ in self._effects})

    @property
    def outputs(self) -> list[Output]:
        """All outputs, those to one partition in the order in which their events were done."""
        return self.of(lambda _: True)

    def join(self, number: int, effects: Sequence[Output | Emission]) -> None:
        """The event of this number is done, and these are its outputs."""
        self._effects += [(number, effect) for effect in effects]

    def of(self, holds: Callable[[int], bool]) -> list[Output]:
        """What a commit carries that acknowledges the events of whose numbers this is true."""
        found = (effect for number, effect in self._effects if holds(number))
        return _outputs(x for x in found if not (self.by_outbox and isinstance(x, Emission)))

    def outbox_records(self, holds: Callable[[int], bool]) -> list[OutboxRecord]:
        """What such a commit puts into the outbox."""
        if not self.by_outbox:
            return []
        found = (effect for number, effect in self._effects if holds(number))
        return [x.outbox_record for x in found if isinstance(x, Emission)]

    def forget(self, holds: Callable[[int], bool]) -> None:
        """A commit of these events is on the server, and so are their effects."""
        self._effects = [x for x in self._effects if not holds(x[0])]

    def redirect(self, current: Mapping[StreamSpec, StreamSpec], source: int) -> None:
        """Send outputs of partition ``source`` to their streams' present partitions.

        Emissions find theirs by themselves, as soon as their streams know them.
        """
        self._effects = [
            (number, effect.redirected(current.get(effect.stream, effect.stream), source))
            if isinstance(effect, Output)
            else (number, effect)
            for number, effect in self._effects
        ]


def _outputs(effects: Iterable[Output | Emission]) -> list[Output]:
    outputs: list[Output] = []
    values: dict[tuple[StreamSpec, int], list[bytes]] = {}
    for effect in effects:
        if isinstance(effect, Output):
            outputs.append(effect)
            continue
        place = effect.place
        if place not in values:
            values[place] = []
            spec, number = place
            outputs.append(Output(spec, number, Batch(effect.stream.codec.names, values[place])))
        values[place] += effect.values
    return outputs
