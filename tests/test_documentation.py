"""The book: its links lead somewhere, its programs run, and the page of log lines has every fact of the source."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import re
import sqlite3
import sys
import types
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from tutorial import Block, blocks

import runnel_trio
from runnel_trio import App, Misconfigured, Record, exceptions, testing
from runnel_trio._codec import DecodeError
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.settings import describe

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "runnel_trio"
PAGES = sorted(path for path in DOCS.rglob("*.rst") if "_build" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


# Links. Sphinx checks :doc: and toctrees too, where it is installed; the rest is checked here only.


def targets(page: Path) -> Iterator[Path]:
    """The files of the repository that a page of the book leads to."""
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r":doc:`(?:[^`<]*<)?([^`>]+)>?`", text):
        yield Path(f"{DOCS / target[1:] if target.startswith('/') else page.parent / target}.rst")
    for tree in re.findall(r"^\.\. toctree::\n(?:   :.*\n)*\n((?:   \S+\n)+)", text, re.MULTILINE):
        yield from (page.parent / f"{name}.rst" for name in tree.split())
    for file in re.findall(
        r"^ *(?:\.\. (?:literalinclude|include|image|figure)::|:file:) (\S+)$", text, re.MULTILINE
    ):
        yield page.parent / file
    for file in re.findall(r"``((?:docs|examples|tests|benchmarks|src)/[\w./-]+)", text):
        yield ROOT / file.rstrip(".")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_book_lead_somewhere(page: Path) -> None:
    assert sorted({os.path.relpath(x, ROOT) for x in targets(page) if not x.exists()}) == []


def test_every_page_can_be_reached_from_the_first() -> None:
    reached, new = set[Path](), {DOCS / "index.rst"}
    while new:
        reached |= new
        found = {Path(os.path.normpath(x)) for page in new for x in targets(page) if x.suffix == ".rst"}
        new = {page for page in found if page.exists()} - reached
    assert sorted(map(name_of, set(PAGES) - reached)) == []


@pytest.mark.parametrize("path", [*ROOT.glob("*.md"), *ROOT.glob("examples/**/*.md")], ids=name_of)
def test_links_of_other_texts_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    links = [x for x in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if "://" not in x]
    named = [x.rstrip(".") for x in re.findall(r"(?<![\w/])docs/[\w/.-]+", text)]
    assert [x for x in links if not (path.parent / x).exists()] == []
    assert [x for x in named if not any((ROOT / f"{x}{end}").exists() for end in ("", ".rst"))] == []


def test_pages_that_the_source_names_exist() -> None:
    scripts = [ROOT / "noxfile.py", DOCS / "conf.py", *(DOCS / "tools").glob("*.py")]
    for path in [*SOURCE.rglob("*.py"), *scripts]:
        for name in re.findall(r"(?<![\w/])docs/[\w/.-]+", path.read_text(encoding="utf-8")):
            target = ROOT / name.rstrip(".")
            there = any(target.with_name(target.name + end).exists() for end in ("", ".rst"))
            assert there or "_build" in name, f"{name_of(path)}: {name}"


def test_references_to_sections_name_sections() -> None:
    for page in PAGES:
        text = " ".join(page.read_text(encoding="utf-8").split())
        for title, target in re.findall(r'"([A-Z][^"]+)" in :doc:`([^`]+)`', text):
            there = Path(f"{DOCS / target[1:] if target.startswith('/') else page.parent / target}.rst")
            assert re.search(rf"^{re.escape(title)}\n[-~]+$", there.read_text(encoding="utf-8"), re.MULTILINE)


# Programs, pictures


#: What "before" programs are called: of frameworks that are not installed here.
OTHERS = {"Faust", "Celery", "FastStream", "by hand"}
BOOK = [page for page in PAGES if page.parent != DOCS or page.stem in {"index", "start", "faq"}]


def python_of(page: Path) -> list[Block]:
    return [x for x in blocks(page.read_text(encoding="utf-8")) if x.language == "python"]


class Order(Record):
    order_id: int
    customer: str
    amount: int


def run(page: Path, mutation: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """What the programs of a page define, one after the other, as a reader would write them into one module.

    A test may put something else in the place of a guard.
    """
    guard, other = mutation
    assert guard in page.read_text(encoding="utf-8")
    app = App("shop", redis_url="memory://")
    orders = app.stream("orders", Order, partition_by="customer")
    names = dict(vars(runnel_trio)) | {"app": app, "orders": orders, "Order": Order, "trio": trio}
    names |= {"UTC": UTC, "datetime": datetime, "ZoneInfo": ZoneInfo, "__name__": "__docs__"}
    for block in python_of(page):
        text = block.text.replace(guard, other) if guard else block.text
        code = compile(text, f"{name_of(page)}:{block.line}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        waits = code.co_flags & 0x80  # CO_COROUTINE: a fragment, to be read only
        if block.caption not in OTHERS and not waits:
            own = {"orders"} if 'app.stream("orders"' in block.text else set()
            for name in own & app.streams.keys():
                del app.streams[name]
            exec(code, names)
    return names


@pytest.mark.parametrize("page", [x for x in BOOK if python_of(x)], ids=name_of)
def test_the_programs_of_the_book_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(page)
    for value in list(names.values()):
        if isinstance(value, types.FunctionType) and value.__name__.startswith("test_"):
            assert value.__code__.co_flags & 0x80


def test_links_stand_in_one_order_everywhere() -> None:
    """Retries first, as the text of the guide has them; `test_middleware_surrounds_each_event…` shows what it means."""
    lists = [
        found
        for path in [*PAGES, *DOCS.rglob("examples/**/*.py"), *SOURCE.rglob("*.py")]
        for found in re.findall(r"middleware=\[(.*)\]", path.read_text(encoding="utf-8"))
    ]
    both = [
        found for found in lists if "Retry" in found and "," in found.partition("Retry")[2].partition("))")[2]
    ]
    assert len(both) >= 4
    assert all(found.startswith("RetryMiddleware(") for found in lists if "Retry" in found)


# What the guide says of lists and nurseries

PROCESSORS = DOCS / "guide" / "processors.rst"
#: Guards of the program, and what breaks it.
A_TASK_FOR_EACH_EVENT = ("setdefault(order.customer, [])", "setdefault(str(order.order_id), [])")
A_GROUP = ("raise errors[0]", 'raise ExceptionGroup("as a nursery has them", errors)')
Handled = list[tuple[str, int]]


def side_by_side(failures: dict[int, list[Exception]], mutation: tuple[str, str] = ("", "")) -> Any:
    """The processor, with links that the page tells of, and what it has handled."""
    names, handled = run(PROCESSORS, mutation), []

    async def notify(order: Order) -> None:
        await trio.sleep(order.amount)
        if failures.get(order.order_id):
            raise failures[order.order_id].pop()
        handled.append((order.customer, order.order_id))

    names["notify"] = notify
    app, orders = names["app"], names["orders"]
    sink = app.stream("not-notified", Dead, partition_by="xid", partition_count=orders.partition_count)
    links = [RetryMiddleware(attempts=2, on=(ConnectionError,)), DeadLetterMiddleware(sink)]
    processor = app.processor(orders, name="linked", middleware=links)(names["side_by_side"].function)
    return processor, handled


def in_order(handled: Handled) -> bool:
    numbers = {who: [n for name, n in handled if name == who] for who, _ in handled}
    return all(found == sorted(found) for found in numbers.values())


#: The later ones of a customer take less time than the earlier ones.
LISTED = [Order(order_id=n, customer="Ada" if n % 2 else "Bob", amount=20 - n) for n in range(20)]


async def test_the_lists_of_the_guide_keep_the_order_of_each_key(autojump_clock: Any) -> None:
    processor, handled = side_by_side({})
    async with processor.test() as t:
        began = trio.current_time()
        await t.send(*LISTED)
        assert trio.current_time() - began < sum(order.amount for order in LISTED), "side by side"
    assert len(handled) == 20
    assert in_order(handled)


async def test_gate_with_a_task_for_each_event_they_do_not(autojump_clock: Any) -> None:
    processor, handled = side_by_side({}, A_TASK_FOR_EACH_EVENT)
    async with processor.test() as t:
        await t.send(*LISTED)
    assert not in_order(handled)


async def test_a_list_of_the_guide_that_fails_is_tried_again_as_one(autojump_clock: Any) -> None:
    processor, handled = side_by_side({4: [ConnectionError("gone")]})
    async with processor.test() as t:
        results = await t.send(*LISTED)
    assert {x.outcome for x in results} == {testing.Outcome.ACKED}
    bob = [n for who, n in handled if who == "Bob"]
    assert bob == [0, 2, *range(0, 20, 2)], "nothing overtook the one that failed"


async def test_gate_an_exception_in_a_group_is_not_tried_again(autojump_clock: Any) -> None:
    processor, _ = side_by_side({4: [ConnectionError("gone")]}, A_GROUP)
    async with processor.test() as t:
        results = await t.send(*LISTED)
    assert testing.Outcome.DEAD_LETTERED in {x.outcome for x in results}


async def test_of_a_list_that_fails_for_good_all_become_dead_letters(autojump_clock: Any) -> None:
    processor, handled = side_by_side({4: [ValueError("never")]})
    both = [x for x in LISTED if x.customer == "Bob"]
    async with processor.test() as t:
        results = await t.send(*both)
    assert {x.outcome for x in results} == {testing.Outcome.DEAD_LETTERED}
    assert handled == [("Bob", 0), ("Bob", 2)], "which were handled, and are set aside all the same"


def test_the_statement_of_the_guide_refuses_owners_of_before() -> None:
    page = (DOCS / "guide" / "state.rst").read_text(encoding="utf-8")
    (statement,) = [x.text for x in blocks(page) if x.language == "sql" and "layout" in x.text]
    for stored, is_written in {
        (1, 99): True,
        (2, 16): True,
        (2, 17): True,
        (2, 18): False,
        (3, 1): False,
    }.items():
        with closing(sqlite3.connect(":memory:")) as db:
            db.execute("CREATE TABLE orders (id INTEGER, status TEXT, epoch INTEGER, layout INTEGER)")
            db.execute("INSERT INTO orders VALUES (4711, 'new', ?, ?)", stored[::-1])
            assert db.execute(statement).rowcount == is_written, stored


@contextmanager
def module_of_the_docs(path: Path) -> Iterator[Any]:
    """A Python file that helps to build the book."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # attrs looks its names up there
    try:
        spec.loader.exec_module(found)
        yield found
    finally:
        del sys.modules[spec.name]


def test_signatures_show_the_values_of_defaults() -> None:
    generated = "(*, attempts: int = attr_dict['attempts'].default, on: tuple = attr_dict['on'].default)"
    with module_of_the_docs(DOCS / "conf.py") as conf:
        said = conf.readable("class", RetryMiddleware, generated)
        assert said == "(*, attempts: int = 3, on: tuple = (Exception,))"
        assert conf.readable("class", runnel_trio.Worker, "(*, settings: Settings = NOTHING)") == ""
        assert {getattr(runnel_trio, x, testing.Trial).__name__ for x in conf.MADE_BY_US} == conf.MADE_BY_US


def test_the_picture_of_the_tree_shows_the_tree() -> None:
    with module_of_the_docs(DOCS / "tools" / "architecture_tree.py") as drawing:
        text = drawing.picture(drawing.PAGE.read_text(encoding="utf-8"))
    assert drawing.PICTURE.read_text(encoding="utf-8") == text, "run: python docs/tools/architecture_tree.py"


class Before(Record):
    x: int


class WithDefault(Record):
    x: int
    y: int = 5


class Without(Record):
    x: int
    y: int


class Wider(Record):
    x: int | None


@pytest.mark.parametrize(
    ("now", "stored", "read"),
    [
        (WithDefault, b'{"x":1}', WithDefault(x=1, y=5)),
        (Before, b'{"x":1,"y":2}', Before(x=1)),
        (Without, b'{"x":1}', None),
        (Wider, b'{"x":1}', Wider(x=1)),
        (Before, b'{"x":null}', None),
    ],
)
def test_changed_records_are_read_as_the_guide_says(now: Any, stored: bytes, read: Record | None) -> None:
    stream = App("shop").stream("orders", now, partition_by="x")
    try:
        found = stream.codec.decode([b"data", stored])
    except DecodeError:
        found = None
    assert found == read


async def test_a_stream_whose_record_or_count_has_changed_is_refused() -> None:
    app = App("shop", redis_url="memory://")
    before = app.stream("orders", Before, partition_by="x", partition_count=2)
    await before.send(Before(x=1))
    for changed in ({"record": Wider}, {"partition_count": 3}):
        del app.streams["orders"]
        now = app.stream("orders", **{"record": Before, "partition_by": "x", "partition_count": 2, **changed})
        with pytest.raises(Misconfigured, match="was declared with"):
            await now.send(now.record(x=1))


def test_settings_that_are_recommended_exist() -> None:
    page = (DOCS / "howto" / "settings.rst").read_text(encoding="utf-8")
    named = set(re.findall(r"``(\w+)(?:=[^`]+)?``", page)) - {"quarantine", "ignore", "block", "trim"}
    known = {*inspect.signature(App.processor).parameters, *inspect.signature(App.stream).parameters}
    known |= {x.name for x in describe()}
    assert named <= known
    assert len(named) > 12


# Log lines and errors


def facts() -> dict[str, set[str]]:
    """Every fact that is reported, with its levels."""
    found: dict[str, set[str]] = {}
    for path in SOURCE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            called = ast.unparse(call.func)
            first, second = call.args[0], call.args[1] if len(call.args) > 1 else None
            if called == "report" and isinstance(second, ast.Constant):
                found.setdefault(str(second.value), set()).add(ast.unparse(first).split(".")[-1].lower())
            elif called == "self._report" and isinstance(first, ast.Constant):
                found.setdefault(str(first.value), set()).add("error")
    return found


LOG = (DOCS / "reference" / "log.rst").read_text(encoding="utf-8")


def test_every_fact_is_on_the_page_with_its_level_and_no_other() -> None:
    part = LOG.split(".. facts begin")[1].split(".. facts end")[0]
    entries = re.findall(r"^``([a-z-]+)`` \((\w+)\)\n((?:    .+\n)+)", part, re.MULTILINE)
    told = {name: {level} for name, level, _ in entries}
    assert told == facts()
    assert len(told) > 30
    assert len(entries) == len(told)


def test_every_call_that_reports_names_its_fact() -> None:
    counted = sum(
        len(re.findall(r"(?<![\w.])report\((?!level)", path.read_text(encoding="utf-8")))
        for path in SOURCE.rglob("*.py")
        if path.name not in {"_telemetry.py", "_waits.py"}
    )
    # One of them, in _partition.py, is told the fact by those who call it.
    named = sum(
        isinstance(x, ast.Call) and ast.unparse(x.func) == "report" and isinstance(x.args[1], ast.Constant)
        for path in SOURCE.rglob("*.py")
        for x in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
    assert counted == named + 1


def test_every_error_is_on_the_page() -> None:
    part = LOG.split("\nErrors\n------")[1]
    told = set(re.findall(r"^``(\w+)``$", part, re.MULTILINE))
    assert told == set(exceptions.__all__) - {"RunnelError"}
