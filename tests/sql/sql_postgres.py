"""A PostgreSQL server for tests, from Debian's package or wherever it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from itertools import count
from pathlib import Path
from typing import Any


def programs() -> Path | None:
    """The directory of initdb and postgres; Debian keeps them off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    versions = [x.parent for x in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


class Postgres:
    """A server in a directory of its own, which listens at a socket in there.

    The server refuses to run as root: then it runs as another user.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._databases = count()
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path(tempfile.mkdtemp(prefix="pg"))  # a socket's path must be short
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:
            names = {x.pw_name: x for x in pwd.getpwall()}
            user = names.get("postgres") or names["nobody"]
            self._who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.directory, user.pw_uid, user.pw_gid)

    def _run(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.directory.parent / f"{self.directory.name}.log").open("ab") as log:
            return subprocess.Popen(
                [self._binaries / name, *arguments],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self._who,
            )

    def start(self) -> None:
        """Until it answers."""
        data = str(self.directory / "data")
        options = ("-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        assert self._run("initdb", *options).wait() == 0
        settings = {
            "listen_addresses": "", "unix_socket_directories": str(self.directory), "max_connections": "200",
            "fsync": "off",
        }  # fmt: skip
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._process = self._run("postgres", "-D", data, *given)
        while self._run("pg_isready", "-h", str(self.directory)).wait() != 0:
            assert self._process.poll() is None, self.log()

    def log(self) -> str:
        """What it has said."""
        return (self.directory.parent / f"{self.directory.name}.log").read_text()

    def database(self) -> str:
        """How to connect to a new, empty one."""
        import psycopg

        name = f"test{next(self._databases)}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.dsn(name)

    def dsn(self, database: str) -> str:
        """How to connect to this one."""
        return f"host={self.directory} user=tester dbname={database}"

    def stop(self) -> None:
        """At once, and nothing is left of it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory.parent / f"{self.directory.name}.log").unlink(missing_ok=True)
