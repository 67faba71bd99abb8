"""The seam to the outside: the verbs that a broker has, in one protocol for each kind of user.

What the verbs carry is in `_values`, what people are shown in `_seen`. Two brokers implement all of them, and
one suite holds both to that: `_redis`, and `_memory` on Trio's own clock. A module that needs one kind of
verbs names its protocol, and not the whole broker.

Every verb that writes may be called again after a failure without harm; none is abandoned half-way. While the
server is away, the verbs of the consuming side wait for it, and `Logs.append` gives up after a while. Each
verb raises `BrokerRefused` for what cannot heal.
"""

from __future__ import annotations

from typing import Protocol

from runnel_trio._broker._protocol._admin import Admin
from runnel_trio._broker._protocol._catalog import Catalog
from runnel_trio._broker._protocol._logs import Logs
from runnel_trio._broker._protocol._ownership import Ownership
from runnel_trio._broker._protocol._parties import Parties, Pulse
from runnel_trio._broker._protocol._reader import Reader
from runnel_trio._broker._protocol._server import Server

__all__ = ["Admin", "Broker", "Catalog", "Logs", "Ownership", "Parties", "Pulse", "Reader", "Server"]


class Broker(Server, Catalog, Logs, Ownership, Parties, Admin, Protocol):
    """All verbs together."""
