"""Exactly once into your own SQL database: an event and what it changes there, in one transaction.

    progress = Progress(connection)

    async for event in events:
        await progress.apply(add, event)      # add(connection, event), if it was not applied before

``_progress.py`` has the transaction, ``_rows.py`` the table and the rule, ``_driver.py`` what differs between
drivers.
"""

from __future__ import annotations

from runnel_trio.sql._driver import Connection as Connection
from runnel_trio.sql._progress import Progress as Progress

__all__ = ["Connection", "Progress"]

for _thing in (Connection, Progress):
    _thing.__module__ = __name__  # where they are public, for tracebacks and docs
