"""An app for commands that are typed by nobody in his senses."""

from __future__ import annotations

from hostile_entries import Everything, Plain

from runnel_trio import App, Events
from runnel_trio.middleware import Dead, DeadLetterMiddleware

app = App("hostile", redis_url="memory://", default_partition_count=2)
orders = app.stream("orders", Everything, "text")
plain = app.stream("plain", Plain, "user")
dead = DeadLetterMiddleware(app.stream("dead", Dead, "xid"))


@app.processor(orders, middleware=[dead])
async def handle(events: Events[Everything]) -> None:
    async for _ in events.records():
        pass
