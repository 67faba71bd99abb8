"""The layouts of a stream in the order in which a processor reads them: one after the other."""

from __future__ import annotations

from runnel_trio._broker._protocol import Catalog
from runnel_trio._broker._values import Layouts, ProcessorSpec

__all__ = ["current_stage", "reads", "stages"]


async def reads(broker: Catalog, name: str, layouts: Layouts) -> list[ProcessorSpec]:
    """A processor in the layouts that it has to read, in this order: it begins one when it is through before.

    Most have one. The former layout is the first, until everything in it is acknowledged.
    """
    current = ProcessorSpec(stream=layouts.current, name=name)
    if layouts.draining is not None:
        former = ProcessorSpec(stream=layouts.draining, name=name)
        if await broker.undrained(former):
            return [former, current]
    return [current]


async def stages(broker: Catalog, processor: ProcessorSpec) -> list[ProcessorSpec]:
    """As `reads`, of what the server says now; changes nothing there."""
    layouts = await broker.layouts(processor.stream)
    return [processor] if layouts is None else await reads(broker, processor.name, layouts)


async def current_stage(broker: Catalog, processor: ProcessorSpec) -> ProcessorSpec:
    """The processor in the layout that it reads now."""
    return (await stages(broker, processor))[0]
