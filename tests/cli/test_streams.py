"""Standard streams as cron, daemons, pipes and full disks have them: no traceback, and a code that says why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from warm import Warm

from runnel_trio import _cli
from runnel_trio._cli._errors import Exit
from runnel_trio._embedded._server import embedded_server

DEADLINE = 60.0
LETTERS = """
from shop import app, orders
from runnel_trio.middleware import Dead, DeadLetterMiddleware

dead = DeadLetterMiddleware(app.stream("dead", Dead, "xid"))

@app.processor(orders, middleware=[dead])
async def failing(events):
    async for order in events.records():
        raise LookupError
"""
#: Each command, so that it prints something, and does the same when it is typed again.
COMMANDS = {
    "send": ["shop:orders", '{"key": "a", "n": 1}'],
    "sendmany": ["shop:orders", "events"],
    "run": ["shop:app", "--check"],
    "status": ["shop:app", "--over=0"],
    "top": ["shop:app"],
    "inspect": ["shop:orders"],
    "stream repartition": ["shop:orders", "--to=8", "--dry-run"],
    "stream info": ["shop:orders"],
    "stream partition-of": ["shop:orders", "a"],
    "processor reset": ["shop:printer", "--dry-run"],
    "processor seek": ["shop:printer", "0", "--dry-run"],
    "processor pause": ["shop:printer", "--dry-run"],
    "processor drop": ["shop:printer", "--dry-run"],
    "processor resume": ["shop:printer", "--dry-run"],
    "dead-letters list": ["letters:failing"],
    "dead-letters show": ["letters:failing", "0/1-1"],
    "dead-letters replay": ["letters:failing", "--all"],
    "dead-letters drop": ["letters:failing", "--all", "--yes"],
    "parked list": ["shop:printer"],
    "parked show": ["shop:printer"],
    "parked retry": ["shop:printer", "--all"],
    "parked skip": ["shop:printer", "--all"],
    "parked drop": ["shop:printer", "--all"],
    "parked hold": ["shop:printer", "--key=a", "--dry-run"],
    "settings": ["shop:app"],
    "init": ["new"],
    "demo": ["--redis-url=URL"],
    "completion": ["bash"],
}
#: Typed by everybody, of the library that reads the command line.
TEXTS = {"--version": ["--version"], "--help": ["--help"], "run --help": ["run", "--help"], "no": ["run"]}


def leaves(group: click.Command, *before: str) -> Iterator[str]:
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from leaves(command, *before, name)
    else:
        yield " ".join(before)


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) == set(leaves(_cli.cli))


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


@attrs.define
class Runs:
    """Commands of one directory and server, with the streams that are wanted."""

    warm: Warm
    shop: Path
    url: str
    _count: int = attrs.field(default=0, init=False)

    def ended(self, arguments: list[str], out: str = "read", err: str = "read") -> tuple[int, str, str]:
        """The exit code, and what was read."""
        self._count += 1
        if arguments[0] == "init":
            arguments = ["init", f"new{self._count}"]
        arguments = [x.replace("URL", self.url) for x in arguments]
        read = {name: self.shop / f"{name}{self._count}" for name in ("out", "err")}
        files = [os.open(os.devnull, os.O_RDONLY), opened(out, read["out"]), opened(err, read["err"])]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNNEL_", "PYTHON"))}
        try:
            run = self.warm.start(arguments, files, self.shop, {**kept, "RUNNEL_REDIS_URL": self.url})
        finally:
            for file in files:
                os.close(file)
        code = run.wait(DEADLINE)
        return (code, *(path.read_text() if path.exists() else "" for path in read.values()))


def opened(how: str, path: Path) -> int:
    if how == "unread":
        ours, theirs = os.pipe()
        os.close(ours)
        return theirs
    return os.open("/dev/full" if how == "full" else path, os.O_WRONLY | os.O_CREAT)


@pytest.fixture
def runs(server: str, warm: Warm, shop: Path) -> Runs:
    (shop / "events").write_text('{"key": "a", "n": 1}\n')
    (shop / "letters.py").write_text(LETTERS)
    return Runs(warm, shop, server)


@pytest.mark.parametrize("name", [*COMMANDS, *TEXTS])
async def test_output_that_cannot_be_written_is_told_and_what_cannot_be_told_changes_nothing(
    name: str, runs: Runs
) -> None:
    arguments = TEXTS.get(name) or [*name.split(), *COMMANDS[name]]
    assert runs.ended(["send", *COMMANDS["send"]])[0] == 0
    code, printed, told = runs.ended(arguments)
    full, unread = runs.ended(arguments, out="full"), runs.ended(arguments, out="unread")
    if printed:
        line = "Error: standard output cannot be written: No space left on device\n"
        assert full[0] == Exit.IO
        assert full[2].endswith(line)
        assert unread[0] == Exit.UNREAD
        assert not unread[2] or unread[2][:8] == told[:8]  # what was told before
    else:
        assert full[0] == unread[0] == code
    for _, _, error in (full, unread):
        assert not any(word in error for word in ("Traceback", "Exception", "Errno", "stopped by"))
    for how in ("full", "unread"):
        then, shown, _ = runs.ended(arguments, err=how)
        assert (then, bool(shown)) == (code, bool(printed))


CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]


def closed(arguments: str, shop: Path, how: str, **changes: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNNEL_", "PYTHON"))}
    line = f'exec "$PYTHON" -m runnel_trio {arguments} {how}'
    return subprocess.run(
        ["bash", "-c", line], cwd=shop, env={**kept, "PYTHON": sys.executable, **changes},
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("how", CLOSED)
def test_closed_streams_are_no_error(how: str, shop: Path) -> None:
    assert closed("--version", shop, how).returncode == 0
    done = closed("""send shop:orders '{"key": "a", "n": 1}' --embedded=data""", shop, how)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == ("" if "2>&-" in how else "Sent 1 event to orders.\n")
    done = closed("inspect shop:orders --embedded=data", shop, how)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (">&-" not in how.replace("2>&-", ""))


def test_the_users_code_can_write_to_streams_that_are_closed(shop: Path) -> None:
    (shop / "writes.py").write_text(
        "import os, subprocess, sys\nprint('a'); sys.stderr.write('b'); sys.stdout.flush()\n"
        "os.write(1, b'c'); os.write(2, b'd')\nsubprocess.run(['sh', '-c', 'echo e; echo f >&2'], check=True)\n"
        "from shop import app\n"
    )
    done = closed("settings writes:app --json", shop, ">&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "command", ["sendmany shop:orders -", "processor seek shop:printer 0", "top shop:app"]
)
def test_a_command_that_would_read_closed_standard_input_says_so(command: str, shop: Path) -> None:
    closed("""send shop:orders '{"key": "a", "n": 1}' --embedded=data""", shop, "")
    done = closed(f"{command} --embedded=data", shop, "<&-")
    assert done.returncode in {Exit.USAGE, Exit.IO}
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_connections_and_files_do_not_take_the_numbers_of_streams_that_are_closed(shop: Path) -> None:
    """Else what C code or a child writes to standard error would go into them."""
    (shop / "looks.py").write_text(
        "import os\nfrom pathlib import Path\nfrom shop import app\n\n"
        "@app.task\nasync def look():\n"
        "    found = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
        "    Path('found').write_text(' '.join(found))\n    app.stopped()\n"
    )
    done = closed("run looks:app --embedded=data", shop, "<&- >&- 2>&-")
    assert (shop / "found").read_text() == "/dev/null /dev/null /dev/null"
    assert done.returncode == Exit.FAILED  # the error of the last line ends it


ENCODINGS = {
    "latin-1": {"PYTHONIOENCODING": "latin-1"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "utf-8": {"PYTHONIOENCODING": "utf-8:strict"},
}


@pytest.mark.parametrize("name", ENCODINGS)
def test_what_an_encoding_does_not_have_is_escaped(name: str, shop: Path) -> None:
    document = """'{"key": "\u0416\u20ac", "n": 1}'"""
    closed(f"send shop:orders {document} --embedded=data", shop, "")
    done = closed("inspect shop:orders --embedded=data", shop, "", **ENCODINGS[name])
    assert (done.returncode, done.stderr) == (0, "")
    # click writes UTF-8 where a terminal seems to have ASCII only.
    assert (r"\u0416\u20ac" if name == "latin-1" else "\u0416\u20ac") in done.stdout
    done = closed("run shop:app --embedded=data --processors=\u0416", shop, "", **ENCODINGS[name])
    assert done.returncode == Exit.USAGE
    assert "no processor is called" in done.stderr
    assert "Traceback" not in done.stderr
    for text in ("--help", "demo --help", "status shop:app --embedded=data"):
        assert "Traceback" not in closed(text, shop, "", **ENCODINGS[name]).stderr


async def test_a_worker_whose_log_nobody_reads_any_more_goes_on(runs: Runs, started: Any) -> None:
    run = started("run", "shop:app", RUNNEL_REDIS_URL=runs.url)
    run.stderr.close()
    assert runs.ended(["send", *COMMANDS["send"]])[0] == 0
    assert run.stdout.readline() == "begin 1\n"
    assert run.stdout.readline() == "end 1\n"
    run.terminate()
    assert run.wait(DEADLINE) == 0
    run.stderr = None


async def test_what_the_users_code_could_not_print_is_told_at_the_end(runs: Runs, shop: Path) -> None:
    (shop / "prints.py").write_text("print('it')\nfrom shop import app, orders\n")
    send = f"""send prints:orders '{COMMANDS["send"][1]}'"""
    done = closed(send, shop, ">/dev/full", RUNNEL_REDIS_URL=runs.url)
    line = "Error: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (Exit.IO, f"Sent 1 event to orders.\n{line}")
