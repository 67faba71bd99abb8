"""The record that a worker leaves when an exception ends it: `status` shows it for an hour.

It is written while the worker drains, within a second at most, and does not change how the worker ends. If
the server is away, or refuses it, there is no record.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from runnel_trio._broker._protocol import Parties
from runnel_trio._broker._seen import Ending
from runnel_trio._processor import Processor
from runnel_trio._report._redaction import legible, redacted_text
from runnel_trio._report._telemetry import Handling, handling
from runnel_trio._report._traceback import said_elsewhere
from runnel_trio._scopes import LAST_WORDS, shielded

__all__ = ["ending_by", "leave_word"]

#: Characters of an exception's text that are kept.
_MOST = 300


def ending_by(error: BaseException, member: str, processors: Sequence[Processor[Any]]) -> Ending | None:
    """What is to be said of an exception, in the task that raised it; None of what cannot be described."""
    with suppress(Exception):  # a user's exception, whose text may raise another
        where: dict[str, Any] = {}
        now = handling.get()
        if isinstance(now, Handling):
            stream = next((x.stream.name for x in processors if x.name == now.processor), "")
            xid = (now.first_in_hand() or b"").decode()
            where = {"processor": now.processor, "stream": stream, "partition": now.partition, "xid": xid}
        text = legible(redacted_text(said_elsewhere(error)), _MOST)
        return Ending(error=text, member=member, host=socket.gethostname(), pid=os.getpid(), **where)
    return None


async def leave_word(broker: Parties, app: str, ending: Ending | None) -> None:
    """Have it kept by the server, if that can be done at once."""
    if ending is None or not app:
        return
    with shielded(LAST_WORDS), suppress(Exception):  # it must not change how the worker ends
        await broker.ended(app, ending)
