"""What tests of people's views share: a module with an app, and views of one."""

from __future__ import annotations

from runnel_trio import Record
from runnel_trio._broker._values import Quarantine, StreamSpec
from runnel_trio._operate._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio.constants import Overflow

MODULE = """
from runnel_trio import App, Record
app = App("depot", default_partition_count=4)
class Item(Record):
    key: str
    n: int
items = app.stream("items", Item, partition_by="key")
@app.processor(items)
async def count(events):
    async for item in events.records():
        pass
@app.processor(items)
async def never_run(events):
    async for item in events.records():
        pass
"""


class Item(Record):
    """As in MODULE."""

    key: str
    n: int


NOW = 1_800_000_000.0


def stream(count: int, length: int = 1000) -> StreamView:
    spec = StreamSpec(
        app="shop",
        name="orders",
        partition_count=count,
        record="Order",
        hasher="blake3",
        partition_size=50_000,
        overflow=Overflow.BLOCK,
    )
    return StreamView(
        spec=spec, length=length, room=count * 50_000 - length, fullest=0.1, size=5 << 20, added=length
    )


def partition(
    number: int, *, lag: int = 0, owner: str = "w1", quarantine: Quarantine | None = None
) -> PartitionView:
    age = 30.0 if lag else 0.0
    return PartitionView(
        number=number, owner=owner, epoch=1, cursor="1-0", lag=lag, age=age, quarantine=quarantine
    )


def why(number: int) -> Quarantine:
    return Quarantine(
        partition=number, first=b"1700000000000-0", last=b"1700000000000-0", count=1, error="ValueError: no",
        traceback="", time="2027-01-15T07:00:00+00:00", member="web-1-4711-abcdef",
    )  # fmt: skip


def view(partitions: list[PartitionView], *, acknowledged: int = 0, time: float = NOW) -> Overview:
    member = MemberView(
        id="w1",
        host="web-1.example.internal",
        pid=4711,
        since=NOW - 7300,
        version="0.1.0",
        leaving=False,
        partitions=len(partitions),
        lag=0,
    )
    processor = ProcessorView(
        stream="orders", name="mailer", members=[member], partitions=partitions, acknowledged=acknowledged
    )
    return Overview(
        app="shop", time=time, leader="w1", streams=[stream(len(partitions))], processors=[processor]
    )
