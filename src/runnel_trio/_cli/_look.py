"""What commands have in common that only look at a stream: they make no server, and declare nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from runnel_trio._app import App
from runnel_trio._broker._protocol import Broker
from runnel_trio._cli._errors import Exit, tell
from runnel_trio._cli._load import app_of, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._status import refuse_missing
from runnel_trio._stream import Stream

__all__ = ["looked_at", "looking"]


def looked_at(target: str, *, redis_url: str | None, embedded: str | None) -> tuple[Stream[Any], App]:
    """The stream that is named, and its app, on the server that is named.

    Raises:
        Ended: there is none of them.
    """
    stream: Stream[Any] = load(target, Stream)
    app = app_of(stream)
    refuse_missing(embedded)
    redirect(app, redis_url=redis_url, embedded=embedded)
    configure(app.settings, tell)
    return stream, app


def looking(app: App, look: Callable[[Broker], Awaitable[None]]) -> int:
    """Run ``look`` with the app's server, to the exit code."""

    async def session() -> int:
        async with app._shared.used() as broker:  # not by the stream, which would declare itself
            await look(broker)
        return Exit.OK

    return trio.run(session)
