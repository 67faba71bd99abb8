"""How a server loses what it had."""

from __future__ import annotations

from fault_server import Server


async def emptied(server: Server) -> None:
    """It was killed, and its disk is gone."""
    server.kill()
    server.empty()
    await server.start()


async def flushed(server: Server) -> None:
    """Somebody has emptied it."""
    server.client.flushall()


async def deleted(server: Server) -> None:
    """Somebody has deleted the logs, and with them the cursors."""
    server.client.delete(*server.logs().values())
