"""A process that uses an embedded server: argv[1] is its URL, each line of standard input a command.

``call WORD …`` prints the server's answer, ``fork`` the pid of a child that stays, ``leave`` an empty line
once it has left the server.
"""

from __future__ import annotations

import os
import signal
import sys

from redis import Redis

from runnel_trio._embedded._server import EmbeddedServer, start


def call(server: EmbeddedServer, *words: str) -> str:
    """Send one command to the server."""
    with Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.execute_command(*words))


def fork() -> str:
    """Fork a child that has all our sockets and lives until it is killed."""
    pid = os.fork()
    if not pid:
        signal.pause()
        os._exit(0)
    return str(pid)


def obey(server: EmbeddedServer, word: str, *words: str) -> str:
    """Do what a line says."""
    if word == "call":
        return call(server, *words)
    if word == "fork":
        return fork()
    server.stop()
    return ""


def main(url: str) -> None:
    """Use the server until there are no more commands."""
    server = start(url)
    try:
        print(server.url, flush=True)
        for line in sys.stdin:
            print(obey(server, *line.split()), flush=True)
    finally:
        server.stop()


if __name__ == "__main__":
    main(sys.argv[1])
