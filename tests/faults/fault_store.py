"""What servers have stored, asked of themselves and not of the library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: What a test's own connections are called.
CLIENT_NAME = "rig"


class Store:
    """The servers of one deployment, of which each has some of the keys.

    Attributes:
        url: where an app finds them.
    """

    url: str

    @property
    def clients(self) -> Sequence[Any]:
        """Of the servers that have keys now, each its own."""
        raise NotImplementedError

    @property
    def journals(self) -> list[Path]:
        """The files to which they appended every write, in their order."""
        raise NotImplementedError

    def _logs(self) -> Iterator[tuple[int, str, Any]]:
        """Each partition of ``orders`` that has a log, with its key and who has it."""
        for client in self.clients:
            for key in sorted(client.keys("*:orders:log")):
                yield int(key.partition(b"}")[0].rpartition(b":")[2]), key.decode(), client

    def logs(self) -> dict[int, str]:
        """The keys of all partitions of ``orders`` that have a log."""
        return {number: key for number, key, _ in self._logs()}

    def stored(self) -> dict[int, list[tuple[bytes, dict[bytes, bytes]]]]:
        """What is in them."""
        return {number: client.xrange(key) for number, key, client in self._logs()}

    def groups(self) -> dict[int, list[dict[str, Any]]]:
        """What XINFO GROUPS says of each."""
        return {number: client.xinfo_groups(key) for number, key, client in self._logs()}

    def lag(self) -> int | None:
        """What is not acknowledged; None where it cannot be said."""
        lags = [group["lag"] for groups in self.groups().values() for group in groups]
        return None if None in lags or not lags else sum(lags)

    def owners(self) -> dict[int, tuple[str, int]]:
        """Who owns which partition, and with which epoch."""
        found = {}
        for number, key, client in self._logs():
            held = client.hgetall(f"{key.removesuffix('log')}lease:note")
            if held:
                found[number] = (held[b"owner"].decode(), int(held[b"epoch"]))
        return found

    def guests(self) -> list[str]:
        """Connections that are not a test's own, nor a replica's, nor another server's or a Sentinel's."""
        there = [found for client in self.clients for found in client.client_list(_type="normal")]
        return [found["addr"] for found in there if not _is_at_home(found)]


def _is_at_home(client: Mapping[str, str]) -> bool:
    # Servers keep for some seconds the connections by which they have moved keys.
    moves = client["cmd"].startswith("restore") or client["cmd"] == "cluster|syncslots"
    return moves or client["name"].startswith((CLIENT_NAME, "sentinel-"))
