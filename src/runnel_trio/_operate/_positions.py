"""How far a processor is in each partition, in the layouts that it still has to read."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import stages
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._operate._cursors import numbers_of
from runnel_trio._operate._standing import Quarantined
from runnel_trio._rules._drained import lag

__all__ = ["Position", "positions"]


@attrs.frozen(kw_only=True)
class Position:
    """How far a processor is in a partition.

    Attributes:
        partition: its number.
        layout: the layout of the stream's partitions (see `Partition`); there are two during a repartition.
        lag: how many events are not acknowledged.
        begun: whether it has a cursor there.
        standing: why it stands still there, if it does.
    """

    partition: int
    layout: int
    lag: int
    begun: bool
    standing: Quarantined | None


async def positions(
    broker: Broker, processor: ProcessorSpec, partitions: Collection[int] | None = None
) -> list[Position]:
    """See `Operator.positions`."""
    first, *later = await stages(broker, processor)
    found = await _positions_in(broker, first, numbers_of(first.stream, partitions))
    for stage in later if partitions is None else ():
        found += await _positions_in(broker, stage, numbers_of(stage.stream, None))
    return found


async def _positions_in(broker: Broker, processor: ProcessorSpec, numbers: Sequence[int]) -> list[Position]:
    stream = processor.stream
    states = await broker.log_states(processor, numbers)
    standing = await broker.quarantined(processor, numbers)
    return [
        Position(
            partition=number,
            layout=stream.layout,
            lag=lag(state) if state is not None else len(await broker.entries(stream, number)),
            begun=state is not None,
            standing=None if why is None else Quarantined.of(why),
        )
        for number, state, why in zip(numbers, states, standing, strict=True)
    ]
