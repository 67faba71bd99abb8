"""What nobody owns: a processor's first member looks for it, so that its lag is in somebody's figures.

An owner tells of its own partitions. Those that stand still, or whose owner was killed and that nobody could
acquire since, would be missing in the sum over all workers, and theirs is the lag that matters most. So the
member that has been here for longest asks for all of them, and tells of those without an owner; every other
member tells of none. Only a worker with metrics does so.
"""

from __future__ import annotations

import trio

from runnel_trio._broker._protocol import Admin
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._worker._member._meter import Meter, Unowned
from runnel_trio._worker._member._session import MemberSession

__all__ = ["report_unowned"]

#: So many partitions may be asked about for each heartbeat: of a stream with more, it is asked less often.
_EACH_BEAT = 64


async def report_unowned(
    broker: Admin, processor: ProcessorSpec, session: MemberSession, meter: Meter | None
) -> None:
    """Tell ``meter`` of them until cancelled, whenever this member is the first one."""
    if meter is None:
        return
    beats = 1 + processor.stream.partition_count // _EACH_BEAT
    try:
        while True:
            await trio.sleep(session.interval * beats)
            members = session.view.members
            first = bool(members) and members[0].id == session.member
            meter.unowned(await _found(broker, processor, session) if first else [])
    finally:
        meter.unowned([])


async def _found(broker: Admin, processor: ProcessorSpec, session: MemberSession) -> list[Unowned]:
    surveyed = await broker.survey(processor.stream)
    there = {member.id for member in session.view.members}
    found = []
    for partition in surveyed:
        standing = partition.processors.get(processor.name)
        if standing is None:  # nobody has taken it yet
            found.append(Unowned(partition.number, partition.length, partition.first_id))
        elif standing.owner not in there:
            # Where the server cannot say how many, it is all that there are, as with one's own.
            lag = partition.length if standing.lag < 0 else standing.lag
            found.append(Unowned(partition.number, lag, standing.next_id))
    return found
