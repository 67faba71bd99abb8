"""The interface to a broker: its verbs, in one protocol for each kind of user.

The values that the verbs carry are in `_values`, those that people see in `_seen`. Two brokers implement all
verbs, `_redis` and `_memory` (on Trio's clock), and one suite tests both. A module that needs one kind of
verbs names that protocol, and not the whole broker.

Every verb that writes can safely be called again after a failure; none is abandoned half-way. While the
server is away, the verbs of the consuming side wait for it, and `Logs.append` gives up after a while. Each
verb raises `BrokerRefused` if the server refuses permanently.
"""

from __future__ import annotations

from typing import Protocol

from runnel_trio._broker._protocol._admin import Admin
from runnel_trio._broker._protocol._catalog import Catalog
from runnel_trio._broker._protocol._logs import Logs
from runnel_trio._broker._protocol._outbox import Outbox
from runnel_trio._broker._protocol._ownership import Ownership
from runnel_trio._broker._protocol._parking import Parking
from runnel_trio._broker._protocol._parties import Parties, Pulse
from runnel_trio._broker._protocol._reader import Reader
from runnel_trio._broker._protocol._server import Server
from runnel_trio._broker._protocol._tables import Tables

__all__ = [
    "Admin",
    "Broker",
    "Catalog",
    "Logs",
    "Outbox",
    "Ownership",
    "Parking",
    "Parties",
    "Pulse",
    "Reader",
    "Server",
    "Tables",
]


class Broker(Server, Catalog, Logs, Ownership, Parking, Outbox, Tables, Parties, Admin, Protocol):
    """All verbs together."""
