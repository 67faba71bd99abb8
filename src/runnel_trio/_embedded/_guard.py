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

# The messages to a user: one of these letters, a text, and a NUL byte.
READY = "R"  # the server answers; the text is its socket, its password and the guard's pid, a line each
FAILED = "F"  # it does not start, or has died; the text is the reason, then the last lines of its log
WAITING = "W"  # it still starts or stops; sent once a second
ELSEWHERE = "E"  # another guard serves the directory; the user should attach to that one
BYE = "B"  # the answer to a user who leaves while others stay
GONE = "G"  # the answer to the last user: the server has ended, and everything temporary is removed

# A file in a directory that is to be thrown away. Whoever has to remove the directory holds the file's flock;
# if nobody holds it any more, the guard removes the directory.
HOLDER = "thrown-away"

PATIENCE = 15.0  # seconds without any progress after which a start has failed; loading is progress
FAREWELL = 30.0  # seconds that a durable server gets to write its data before it is killed


class End(Exception):
    """The guard's work is over; the text is the last message to its users."""


def whereabouts(directory: str) -> tuple[str, str] | None:
    """The runtime directory and the password of a directory's server, as its file ``where`` says."""
    try:
        with open(f"{directory}/where", "rb") as file:
            mark, runtime, password = os.fsdecode(file.read()).split("\n")
        lock = os.stat(f"{directory}/lock")
        home = os.lstat(runtime)
    except (OSError, ValueError):
        return None
    # Everybody can write to temporary directories: what another user has put there is not ours.
    ours = stat.S_ISDIR(home.st_mode) and home.st_uid == os.geteuid()
    return (runtime, password) if ours and mark == _mark(lock) else None


def dial(path: str) -> socket.socket | None:
    """Connect to a Unix socket; None when nobody listens there.

    Raises:
        OSError: somebody listens, but cannot be reached now.
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
    """Ask a server without a guard to end; nothing is lost. False if it is not there any more."""
    with contextlib.suppress(OSError):  # it is too busy to listen, or is gone before it has answered
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
        self.directory = directory  # empty for a private server, whose data is removed at the end
        self.users = [first]
        self.leavers: list[socket.socket] = []
        self.listener: socket.socket | None = None
        self.lock = -1
        self.runtime = ""
        self.log = ""
        self.password = os.urandom(24).hex()
        self.server = 0
        self.address = ""  # the text of READY, once the server answers
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
        """Have SIGCHLD and a request to stop wake `_turn` up, by their numbers."""
        self.wake.setblocking(False)
        self.waker.setblocking(False)
        signal.set_wakeup_fd(self.waker.fileno())
        for awaited in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(awaited, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)

    def _turn(self, seconds: float | None) -> None:
        """Wait for something to happen, for at most so many seconds, and react to it."""
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
        with contextlib.suppress(OSError):  # the user does not wait any more
            while self.listener:
                self.users.append(self.listener.accept()[0])
                tell(self.users[-1], self.address or WAITING)

    def _part(self) -> None:
        """Answer users who have left, except the last ones, who wait until the server has ended."""
        if self.leavers and not self.users:
            self._welcome()
        if not self.users:
            raise End(GONE)
        for leaver in self.leavers:
            tell(leaver, BYE)
            leaver.close()
        self.leavers.clear()

    def _wait(self, seconds: float) -> None:
        """Take a turn while users wait for something, and tell them that it goes on."""
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
        """Send the user to the owner, if there is one. When it is ``late``, end a server without a guard."""
        where = whereabouts(self.directory)
        if where is None:
            return  # it is not written yet, or removed already
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
        """Make the runtime directory, open the guard's socket, and write where it is."""
        remains = whereabouts(self.directory) if self.directory else None
        if remains:  # a predecessor that was killed left them
            remove(remains[0])
        runtime = f"{self.base}/runnel-{os.urandom(6).hex()}"
        os.mkdir(runtime, 0o700)
        self.runtime = runtime
        self.log = f"{self.directory or runtime}/server.log"
        if not self.directory:
            return
        with contextlib.suppress(FileNotFoundError):  # the log before this one is kept
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
        """The server's configuration. It goes through a pipe, so that `ps` does not show the password."""
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
        except BaseException as error:  # whatever it is: the child must not go on as a second guard
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
        """Wait until the server answers, tell all users, and stay until the last one has left."""
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
        """The server's answer to PING; empty if it does not answer yet."""
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
        """Close the guard's socket, stop the server, and remove everything temporary."""
        if self.listener:
            self.listener.close()
        if self.server:
            self._stop_server()
        if self.runtime:
            with contextlib.suppress(OSError):  # a private server has none
                os.unlink(f"{self.directory or self.runtime}/where")
            remove(self.runtime)
        if self.directory and forsaken(self.directory):
            remove(self.directory)

    def _stop_server(self) -> None:
        """End the server, gently if it has data to write."""
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
    """Whether somebody was killed who had to remove this directory."""
    try:
        with open(f"{directory}/{HOLDER}", "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError:  # it need not be removed, or whoever has to do it is alive
        return False


def quoted(path: str) -> str:
    """A path in a form that the server reads correctly, whatever bytes it has."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in os.fsencode(path)) + '"'


def tell(user: socket.socket, word: str) -> None:
    """Send a message to a user, who may be gone or not be reading."""
    user.setblocking(False)
    with contextlib.suppress(OSError):
        user.send(word.encode(errors="surrogateescape") + b"\0")


def received(link: socket.socket) -> bytes:
    """The bytes that have arrived; empty at the end, or if the connection was reset."""
    try:
        return link.recv(4096)
    except BlockingIOError:
        return b"\0"
    except OSError:
        return b""


def die_with(parent: int, how: signal.Signals) -> None:
    """Have Linux end this process when its parent's (only) thread ends; this survives exec."""
    if sys.platform == "linux":
        import ctypes  # imported only in the child, because it takes time

        ctypes.CDLL(None).prctl(1, int(how))  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # the parent ended before we asked
            os._exit(0)


def remove(directory: str) -> None:
    """Remove a directory with what is in it."""
    import shutil  # imported only now, when nobody waits for it

    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o077)
    started_by = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    Guard(started_by, *sys.argv[1:]).run()
