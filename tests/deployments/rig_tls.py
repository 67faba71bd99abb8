"""Servers behind TLS: certificates, and a process that takes it off, for the servers of the tests have none.

Its ports speak both: what begins as TLS does is decrypted, anything else is passed on as it comes. So servers
can find each other by the very addresses that clients use.

    python rig_tls.py FILE    FILE is a list of {port, target, certificate, ca}, as JSON
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs

_HANDSHAKE = b"\x16"


@attrs.frozen
class Certificates:
    """Files, each with a key and what it certifies.

    Attributes:
        ca: who vouches for the servers.
        stranger: who vouches for nobody here.
        server: of ``localhost`` and 127.0.0.1.
        elsewhere: of another host.
        client: of a client.
    """

    ca: Path
    stranger: Path
    server: Path
    elsewhere: Path
    client: Path

    @classmethod
    def made_in(cls, directory: Path) -> Certificates:
        """New ones."""
        import trustme

        ca, stranger = trustme.CA(), trustme.CA()
        paths = cls(*(directory / f"{field.name}.pem" for field in attrs.fields(cls)))
        ca.cert_pem.write_to_path(paths.ca)
        stranger.cert_pem.write_to_path(paths.stranger)
        names = {
            paths.server: ("localhost", "127.0.0.1"),
            paths.elsewhere: ("elsewhere.example",),
            paths.client: ("client@test.example",),
        }
        for path, of in names.items():
            ca.issue_cert(*of).private_key_and_cert_chain_pem.write_to_path(path)
        return paths

    def query(self, **other: Any) -> str:
        """What a client that trusts our CA puts behind the URL."""
        return urlencode({"ssl_ca_certs": self.ca, **other}, safe="/")


class Front:
    """The process, before one or several servers."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "front.json"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, listens: Sequence[Mapping[str, Any]]) -> None:
        """Until it listens on all the ports."""
        self._file.write_text(json.dumps(listens, default=str))
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._file)], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def end(self) -> None:
        """Leave nothing behind."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


def _serve(listens: Sequence[Mapping[str, Any]]) -> None:
    acceptors = []
    for listen in listens:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=listen.get("ca"))
        context.load_cert_chain(listen["certificate"])
        context.verify_mode = ssl.CERT_REQUIRED if "ca" in listen else ssl.CERT_NONE
        listener = socket.create_server(("127.0.0.1", listen["port"]), backlog=100)
        acceptors.append(threading.Thread(target=_accept, args=(listener, listen["target"], context)))
        acceptors[-1].start()
    print("ready", flush=True)
    for acceptor in acceptors:  # once the main thread has ended, Python 3.12 starts no more threads
        acceptor.join()


def _accept(listener: socket.socket, target: int, context: ssl.SSLContext) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_connected, args=(client, target, context)).start()


def _connected(client: socket.socket, target: int, context: ssl.SSLContext) -> None:
    """One connection, by one thread: what the system has, and what TLS has decrypted already."""
    with suppress(OSError), client, socket.create_connection(("127.0.0.1", target)) as server:
        encrypted = client.recv(1, socket.MSG_PEEK) == _HANDSHAKE
        inside: Any = context.wrap_socket(client, server_side=True) if encrypted else client
        for end in (server, inside):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with inside:
            while True:
                there, _, _ = select.select([inside, server], [], [])
                for source, sink in ((inside, server), (server, inside)):
                    if source in there and not _pass_on(source, sink):
                        return


def _pass_on(source: Any, sink: Any) -> bool:
    """What there is now; whether more may come."""
    while data := source.recv(65536):
        sink.sendall(data)
        if not isinstance(source, ssl.SSLSocket) or not source.pending():
            return True
    return False


if __name__ == "__main__":
    _serve(json.loads(Path(sys.argv[1]).read_text()))
