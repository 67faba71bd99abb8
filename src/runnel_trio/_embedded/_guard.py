"""The guard: a small process that owns one embedded server as long as anything uses it.

It is run as ``python -I -S _guard.py BINARY BASE [DIRECTORY]`` with a connected socket as standard input. It
imports only a little of the standard library, so it is up in 20 ms.

1. *A user is a connection*: the socket that the guard was started with, or a connection to the guard's own
   socket. The kernel closes it when the user's process ends, in whatever way, so the number of users is
   always right.
2. *The server ends when the last user leaves.* The guard stops it, removes temporary files, and only then
   tells the user. A new user that connects meanwhile was either accepted before, or its connection is reset
   and it starts again. There is no third case, so starting, attaching and stopping need no lock around them.
3. *A directory belongs to the holder of the flock on its file* ``lock``. The guard takes it before it touches
   anything, and passes it on to the server: it is free exactly when neither of them is alive. A pid file
   cannot say that, because a pid can be reused.
4. *The server does not outlive the guard.* Linux ends it (PR_SET_PDEATHSIG). Elsewhere the next guard, or a
   user who notices, asks it to shut down, with its own password on its own socket, so it cannot hit another
   server.
5. *The file* ``where`` *is a hint* to the sockets, which are elsewhere, because their paths must be short and
   not every file system supports sockets. It names the lock that it belongs to, so it is void in a copied
   directory.

What does not work:

- Users as writers of a FIFO: a FIFO cannot answer. A connection says when the server is ready, or why it is
  not, and when it is gone; nothing polls.
- A lock held by the user that starts the server: if that user is stopped (Ctrl-Z, a debugger), it holds up
  all others.
- The server as its first user's child, without a guard: that user may leave first, or be killed.
- A guard detached by a double fork: if process 1 does not reap children (containers), it stays as a zombie.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import stat
import sys
import time

__all__ = ["BYE", "ELSEWHERE", "FAILED", "GONE", "READY", "WAITING", "dial", "shut_down", "whereabouts"]

# What a user is told: one of these letters, a text, a NUL byte.
READY = "R"  # the server answers; its socket, its password and the guard's pid, a line each
FAILED = "F"  # it cannot be had, or has died; the reason, then the last lines of its log
WAITING = "W"  # still at it; once a second
ELSEWHERE = "E"  # another guard serves the directory: attach to that
BYE = "B"  # to one who leaves: others stay
GONE = "G"  # to the last one: the server has ended, everything temporary is removed

# A file in a directory to be thrown away: its flock is held by who is to do that. Where nobody is, the guard
# does it.
HOLDER = "thrown-away"

PATIENCE = 15.0  # seconds without any progress after which a start has failed; loading is progress
FAREWELL = 30.0  # seconds that a durable server gets to write its data before it is killed


class End(Exception):
    """The guard's work is over; the text is the last word to its users."""


def whereabouts(directory: str) -> tuple[str, str] | None:
    """Read where a directory's server is said to be: its runtime directory and its password."""
    try:
        with open(f"{directory}/where", "rb") as file:
            mark, runtime, password = os.fsdecode(file.read()).split("\n")
        lock = os.stat(f"{directory}/lock")
        home = os.lstat(runtime)
    except (OSError, ValueError):
        return None
    # Temporary directories are everybody's: what another user has put there is not ours.
    ours = stat.S_ISDIR(home.st_mode) and home.st_uid == os.geteuid()
    return (runtime, password) if ours and mark == _mark(lock) else None


def dial(path: str) -> socket.socket | None:
    """Connect to a Unix socket; None when nobody listens there.

    Raises:
        OSError: somebody does, but cannot be reached now.
    """
    link = socket.socket(socket.AF_UNIX)
    try:
        link.settimeout(1)
        link.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        link.close()
        return None
    except OSError:
        link.close()
        raise
    return link


def shut_down(runtime: str, password: str) -> bool:
    """Ask a server without a guard to end, which loses nothing; False when none is there any more."""
    with contextlib.suppress(OSError):  # too busy to listen, or gone before it had answered
        link = dial(f"{runtime}/s")
        if link is None:
            return False
        with link:
            link.sendall(f"AUTH {password}\r\nSHUTDOWN NOSAVE\r\n".encode())
            while link.recv(4096):
                pass
    return True


class Guard:
    """One server and its users; `run` returns when both are gone."""

    def __init__(self, first: socket.socket, binary: str, base: str, directory: str = "") -> None:
        self.binary = binary
        self.base = base
        self.directory = directory  # empty: private, thrown away at the end
        self.users = [first]
        self.leavers: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.lock = -1
        self.runtime = ""
        self.log = ""
        self.password = os.urandom(24).hex()
        self.server = 0
        self.address = ""  # what users are told once the server answers
        self.beat = time.monotonic() + 1
        self.wake, self.waker = socket.socketpair()

    def run(self) -> None:
        """Serve until the last user has left, and leave nothing behind."""
        last = GONE
        try:
            self._watch_signals()
            self._turn(0)
            self._claim()
            self._prepare()
            self._launch()
            self._serve()
        except (End, OSError) as error:
            last = str(error) if isinstance(error, End) else f"{FAILED}{error}"
        if last[0] == FAILED:
            last += f"\n{self._log_tail()}"
        self._end()
        for user in (*self.users, *self.leavers):
            tell(user, last)

    def _watch_signals(self) -> None:
        """Have a child's end and a request to stop wake `_turn` up, by their numbers."""
        self.wake.setblocking(False)
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        for awaited in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(awaited, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)

    def _turn(self, seconds: float | None) -> None:
        """Wait for something to happen, at most so long, and react to it."""
        watched = [self.wake, *self.users, *([self.listener] if self.listener else [])]
        for ready in select.select(watched, [], [], seconds)[0]:
            if ready is self.listener:
                self._welcome()
            elif not (told := received(ready)):
                self.users.remove(ready)
                self.leavers.append(ready)
            elif ready is self.wake and signal.SIGTERM in told:
                raise End(f"{FAILED}it was told to stop by a signal")
        self._check_server()
        self._part()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):  # nobody waits any more
            while self.listener:
                self.users.append(self.listener.accept()[0])
                tell(self.users[-1], self.address or WAITING)

    def _part(self) -> None:
        """Let those go who have left; the last ones stay until the server has ended."""
        if self.leavers and not self.users:
            self._welcome()
        if not self.users:
            raise End(GONE)
        for leaver in self.leavers:
            tell(leaver, BYE)
            leaver.close()
        self.leavers.clear()

    def _wait(self, seconds: float) -> None:
        """Take a turn while something is awaited, and let the users know that it is."""
        self._turn(seconds)
        if time.monotonic() > self.beat:
            self.beat = time.monotonic() + 1
            for user in self.users:
                tell(user, WAITING)

    def _claim(self) -> None:
        """Become the owner of the directory, unless somebody serves it already."""
        if not self.directory:
            return
        self.lock = os.open(f"{self.directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        begin = time.monotonic()
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            self._look_for_the_owner(late=time.monotonic() > begin + 1)
            if time.monotonic() > begin + PATIENCE:
                raise End(f"{FAILED}a server that cannot be reached from here holds it (another container?)")
            self._wait(0.01)

    def _look_for_the_owner(self, *, late: bool) -> None:
        """Send the user to the owner, where there is one; when it is late, end a server without a guard."""
        where = whereabouts(self.directory)
        if where is None:
            return  # not written yet, or removed already
        try:
            link = dial(f"{where[0]}/c")
        except OSError:
            return
        if link is not None:
            link.close()
            raise End(ELSEWHERE)
        if late:
            shut_down(*where)

    def _prepare(self) -> None:
        """Make the runtime directory, open the door, and say where it is."""
        remains = whereabouts(self.directory) if self.directory else None
        if remains:  # of a predecessor that was killed
            remove(remains[0])
        runtime = f"{self.base}/runnel-{os.urandom(6).hex()}"
        os.mkdir(runtime, 0o700)
        self.runtime = runtime
        self.log = f"{self.directory or runtime}/server.log"
        if not self.directory:
            return
        with contextlib.suppress(FileNotFoundError):  # one old log is kept
            os.replace(self.log, f"{self.log}.old")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.setblocking(False)
        self.listener.bind(f"{runtime}/c")
        self.listener.listen(128)
        with open(f"{self.directory}/where.new", "wb") as file:
            file.write(os.fsencode(f"{_mark(os.fstat(self.lock))}\n{runtime}\n{self.password}"))
        os.replace(f"{self.directory}/where.new", f"{self.directory}/where")

    def _log_tail(self) -> str:
        try:
            with open(self.log, "rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - 2000))
                return log.read().decode(errors="replace").replace("\0", "")
        except OSError:
            return ""

    def _configuration(self) -> bytes:
        """Write the server's configuration; it goes through a pipe: a password has no place in `ps`."""
        return f"""
            port 0
            unixsocket {quoted(f"{self.runtime}/s")}
            unixsocketperm 600
            requirepass {self.password}
            daemonize no
            dir {quoted(self.directory or self.runtime)}
            logfile {quoted(self.log)}
            always-show-logo no
            save ""
            appendonly {"yes" if self.directory else "no"}
            appendfsync everysec
            maxmemory-policy noeviction
        """.encode()

    def _launch(self) -> None:
        reads, writes = os.pipe()
        os.write(writes, self._configuration())
        os.close(writes)
        guard = os.getpid()
        self.server = os.fork()
        if not self.server:
            self._become_the_server(reads, guard)
        os.close(reads)

    def _become_the_server(self, configuration: int, guard: int) -> None:
        """Turn this child into the server, which reads its configuration from standard input."""
        try:
            log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for ours, standard in ((configuration, 0), (log, 1), (log, 2)):
                os.dup2(ours, standard)
            signal.set_wakeup_fd(-1)
            die_with(guard, signal.SIGTERM if self.directory else signal.SIGKILL)
            if self.directory:
                os.set_inheritable(self.lock, True)
            os.execv(self.binary, [self.binary, "-"])
        except BaseException as error:  # whatever it is, two guards are one too many
            os.write(2, f"{self.binary}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(127)

    def _check_server(self) -> None:
        if self.server and (ended := os.waitpid(self.server, os.WNOHANG))[0]:
            self.server = 0
            code = os.waitstatus_to_exitcode(ended[1])
            how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
            raise End(f"{FAILED}the server ended by itself ({how})")

    def _serve(self) -> None:
        """Wait until the server answers, tell everybody, and stay until nobody is left."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := self._ping()).endswith(b"+PONG\r\n"):
            if b"-LOADING" in answer:
                deadline = time.monotonic() + PATIENCE
            elif time.monotonic() > deadline:
                raise End(f"{FAILED}it did not answer for {PATIENCE:g} s")
            self._wait(0.1 if answer else 0.003)
        self.address = f"{READY}{self.runtime}/s\n{self.password}\n{os.getpid()}"
        for user in self.users:
            tell(user, self.address)
        while True:
            self._turn(None)

    def _ping(self) -> bytes:
        """Ask the server how it is; empty when it does not answer yet."""
        answer = b""
        with contextlib.suppress(OSError):
            link = dial(f"{self.runtime}/s")
            if link is None:
                return b""
            with link:
                link.settimeout(0.25)
                link.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                while answer.count(b"\r\n") < 2 and (more := link.recv(4096)):
                    answer += more
        return answer

    def _end(self) -> None:
        """Close the door, stop the server, and remove everything temporary."""
        if self.listener:
            self.listener.close()
        if self.server:
            self._stop_server()
        if self.runtime:
            with contextlib.suppress(OSError):  # a private one has none
                os.unlink(f"{self.directory or self.runtime}/where")
            remove(self.runtime)
        if self.directory and forsaken(self.directory):
            remove(self.directory)

    def _stop_server(self) -> None:
        """End the server: gently where it has something to write."""
        os.kill(self.server, signal.SIGTERM if self.directory and self.address else signal.SIGKILL)
        deadline = time.monotonic() + FAREWELL
        while not os.waitpid(self.server, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(self.server, signal.SIGKILL)
            select.select([self.wake], [], [], 0.1)
            received(self.wake)


def _mark(lock: os.stat_result) -> str:
    return f"{lock.st_dev}:{lock.st_ino}"


def forsaken(directory: str) -> bool:
    """Whether somebody was to remove a directory, and was killed."""
    try:
        with open(f"{directory}/{HOLDER}", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # it is no such directory; or it is, and its holder is alive
        return False


def quoted(path: str) -> str:
    """Write a path so that the server reads it back whatever bytes it has."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


def tell(user: socket.socket, word: str) -> None:
    """Send a word to a user, who may be gone or not be reading."""
    user.setblocking(False)
    with contextlib.suppress(OSError):
        user.send(word.encode(errors="surrogateescape") + b"\0")


def received(link: socket.socket) -> bytes:
    """Read what is there; empty at the end, and for a connection that was reset."""
    try:
        return link.recv(4096)
    except BlockingIOError:
        return b"\0"
    except OSError:
        return b""


def die_with(parent: int, how: signal.Signals) -> None:
    """Have the kernel end this process when its parent's (only) thread ends; survives exec. Linux only."""
    if sys.platform == "linux":
        import ctypes  # it takes time, which the guard itself need not spend

        ctypes.CDLL(None).prctl(1, int(how))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it ended before we asked
            os._exit(0)


def remove(directory: str) -> None:
    """Remove a directory with what is in it."""
    import shutil  # only needed when nobody waits for it any more

    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o077)
    started_by = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    Guard(started_by, *sys.argv[1:]).run()
