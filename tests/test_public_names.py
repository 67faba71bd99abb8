"""What is public: these names, documented, named by where they are public, readable, and fit to be sent around."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
from trio.testing import MockClock

import runnel_trio
from runnel_trio import (
    App,
    DeserializationError,
    Event,
    LeaseLost,
    Misconfigured,
    NotLoaded,
    NotReplicated,
    Partition,
    Poisoned,
    Record,
    RecordInvalid,
    RunnelError,
    Settings,
    StreamFull,
    TableFull,
    WorkersAlive,
    WrongPartition,
    exceptions,
)
from runnel_trio._event import Origin

API = Path(__file__).parents[1] / "docs" / "reference" / "api.rst"

#: A name more or less here is a change of the API, for the changelog.
PUBLIC = {
    "runnel_trio": {
        "App", "Backoff", "BrokerRefused", "BrokerUnavailable", "Compressor", "DeserializationError", "Event", "Events",
        "ExceptionPolicy", "Failure", "FastJSONSerializer", "Gzip", "HandlerTimeout", "InternalError", "JSONSerializer", "LZ4", "LeaseLost", "LogContext",
        "Middleware", "Misconfigured", "Overflow", "Parked", "ParkingFull", "Partition", "PartitionReset", "Poisoned", "Processor", "Quarantined", "Record",
        "NotLoaded", "NotReplicated", "Operator", "RecordInvalid", "Retry", "RunnelError", "Serializer", "Settings", "Stream", "StreamFull",
        "Table", "TableFull", "TablePart", "Worker", "WorkersAlive", "WrongPartition", "log_context",
    },
    "runnel_trio.constants": {"ExceptionPolicy", "Overflow"},
    "runnel_trio.exceptions": {
        "BrokerRefused", "BrokerUnavailable", "DeserializationError", "HandlerTimeout", "InternalError", "LeaseLost", "Misconfigured",
        "NotLoaded", "NotReplicated", "ParkingFull", "Poisoned", "RecordInvalid", "RunnelError", "StreamFull", "TableFull", "WorkersAlive",
        "WrongPartition",
    },
    "runnel_trio.interfaces": {"Compressor", "Failure", "Middleware", "Retry", "Serializer"},
    "runnel_trio.metrics": {"Family", "Metrics", "PrometheusMetrics", "families"},
    "runnel_trio.tracing": {"Tracing"},
    "runnel_trio.middleware": {"Dead", "DeadLetterMiddleware", "Letter", "Middleware", "RetryMiddleware"},
    "runnel_trio.operating": {
        "Ending", "Layouts", "Limits", "MemberView", "Misfit", "Overview", "PartitionView", "Position", "ProcessorSpec",
        "ProcessorView", "Progress", "Quarantine", "Repartition", "Standing", "StreamSpec", "StreamView", "Surveyed",
        "Trouble", "Typed", "Waiting", "Weight", "state", "troubles",
    },
    "runnel_trio.settings": {"Description", "GivenSettings", "Settings", "describe"},
    "runnel_trio.sql": {"Connection", "Progress"},
    "runnel_trio.testing": {"NotDrained", "Outcome", "Result", "Trial", "advance_to", "drained"},
}  # fmt: skip

OBJECTS = sorted({(module, name) for module, names in PUBLIC.items() for name in names})


def members() -> Iterator[tuple[str, Any]]:
    """What public classes have that has no underscore, and is ours."""
    for module, name in OBJECTS:
        owner = getattr(importlib.import_module(module), name)
        if inspect.isclass(owner):
            for own, member in vars(owner).items():
                if not own.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    yield f"{module}.{name}.{own}", member


@pytest.mark.parametrize("module", PUBLIC)
def test_these_names_are_public_and_no_others(module: str) -> None:
    found = importlib.import_module(module)
    assert set(found.__all__) == PUBLIC[module]
    assert len(found.__all__) == len(set(found.__all__))
    for name in found.__all__:
        assert hasattr(found, name)


def test_no_other_module_is_public() -> None:
    root = Path(runnel_trio.__file__).parent
    names = {
        path.stem if path.suffix else path.name
        for path in root.iterdir()
        if (path / "__init__.py").exists() or path.suffix == ".py"
    }
    assert {f"runnel_trio.{x}" for x in names if not x.startswith("_")} == PUBLIC.keys() - {"runnel_trio"}


def test_the_documentation_has_every_name_and_no_private_one() -> None:
    page = API.read_text(encoding="utf-8")
    documented = set(re.findall(r"auto(?:class|function|exception|data)::\s+(\S+)", page))
    modules = set(re.findall(r"automodule::\s+(\S+)", page))
    covered = documented | {f"runnel_trio.{name}" for module in modules for name in PUBLIC[module]}
    assert covered >= {f"runnel_trio.{name}" for name in PUBLIC["runnel_trio"]}
    assert not [name for name in documented | modules if "._" in name]
    for name in documented:
        module, _, own = name.rpartition(".")
        assert own in PUBLIC[module]


@pytest.mark.parametrize(("module", "name"), OBJECTS)
def test_everything_public_has_a_docstring_and_says_where_it_is_public(module: str, name: str) -> None:
    thing = getattr(importlib.import_module(module), name)
    text = inspect.getdoc(thing) or ""
    assert text.split("\n")[0].endswith("."), text
    where = thing.__module__
    assert name in PUBLIC[where]
    assert getattr(importlib.import_module(where), name) is thing


@pytest.mark.parametrize(("name", "member"), list(members()), ids=lambda x: x if isinstance(x, str) else "")
def test_every_public_method_has_a_docstring(name: str, member: Any) -> None:
    assert inspect.getdoc(member), name


ERRORS = [
    RecordInvalid("Order", "items[2].price", "expected int, got str 'x'"),
    RecordInvalid("Order", "", "expected Order, got dict"),
    DeserializationError("orders", 3, "5-1", "n", "expected int"),
    NotReplicated("orders", 2, 1),
    StreamFull("orders", 1, 100, (3, 4)),
    LeaseLost(2, 17),
    NotLoaded("accounts", "'Ada'"),
    TableFull("accounts", 3, 1000),
    WrongPartition("accounts", "'Ada'", 3, 1),
    Poisoned("orders", 3, "5-1", 3),
    WorkersAlive("shop.orders/book", ["pid 1 on host"], 120.0),
    *(getattr(exceptions, name)("what, and what to do") for name in exceptions.__all__ if name not in {
        "RecordInvalid", "DeserializationError", "NotReplicated", "StreamFull", "LeaseLost", "Poisoned", "WorkersAlive",
        "NotLoaded", "TableFull", "WrongPartition",
    }),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, *range(pickle.HIGHEST_PROTOCOL + 1)])
def test_every_exception_survives_copies_and_pickles(error: RunnelError, how: Any) -> None:
    error.add_note("seen on the way")
    again = pickle.loads(pickle.dumps(error, how)) if isinstance(how, int) else how(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert again.args == error.args


def test_the_tree_of_errors_is_the_one_in_the_picture() -> None:
    picture = re.findall(r"[├└]── (\w+)", exceptions.__doc__ or "")
    assert {"RunnelError", *picture} == PUBLIC["runnel_trio.exceptions"]
    for name in picture:
        assert issubclass(getattr(exceptions, name), RunnelError)


class Order(Record):
    key: str


async def test_what_people_print_says_what_it_is(autojump_clock: MockClock) -> None:
    app = App("shop", redis_url="memory://")
    orders = app.stream("orders", Order, "key", partition_count=1)
    seen: list[Any] = []

    @app.processor(orders)
    async def printer(events: Any) -> None:
        async for event in events:
            seen.extend([events, event, event.partition])

    assert repr(app) == "<App shop: 1 stream, 1 processor>"
    assert repr(orders) == "<Stream shop.orders of Order, 1 partition>"
    assert repr(printer) == "<Processor shop.orders/printer>"
    async with app.worker() as worker:
        await orders.send(Order(key="a"), stream_ids=["5-1"])
        while not seen:
            await trio.sleep(0.01)
        assert repr(worker) == f"<Worker {worker.member} of printer>"
    events, event, partition = seen
    assert repr(event) == "<Event shop:0:orders:log 5-1>"
    assert repr(events) == "<Events of shop:0:orders:log>"
    assert (
        repr(partition) == f"Partition(number=0, key='shop:0:orders:log', epoch={partition.epoch}, layout=1)"
    )


async def test_no_repr_tells_the_password() -> None:
    app = App("shop", redis_url="embedded://")
    orders = app.stream("orders", Order, "key", partition_count=1)

    @app.processor(orders)
    async def printer(events: Any) -> None:
        async for _ in events:
            pass

    async with app.worker() as worker, app._shared.used() as broker:
        (password,) = parse_qs(urlsplit(app.server_url).query)["password"]
        for thing in (app, orders, printer, worker, broker, app._shared):
            assert password not in repr(thing), type(thing)
    settings = Settings(redis_url="redis://:secret@127.0.0.1")
    assert "secret" not in repr(settings)
    assert "secret" not in repr(App("shop", redis_url="redis://:secret@127.0.0.1"))
    assert "secret" not in repr(App("shop", redis_url="redis://:secret@127.0.0.1")._shared)


def test_values_are_equal_by_value_and_the_others_are_themselves() -> None:
    partition = Partition(number=1, key="k", epoch=5)
    assert partition == Partition(number=1, key="k", epoch=5)
    assert hash(partition) == hash(Partition(number=1, key="k", epoch=5))
    origin = Origin(partition=partition, group=b"g", decode=lambda event: event)
    one, other = (Event(origin, b"1-1", ()) for _ in range(2))
    assert one != other
    assert len({one, other}) == 2
    app = App("shop", redis_url="memory://")
    orders = app.stream("orders", Order, "key")
    assert {app: 1, orders: 2}[orders] == 2


def test_what_is_declared_cannot_be_changed_behind_its_back() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.log_level = "debug"  # type: ignore[misc]
    with pytest.raises(Misconfigured):
        App("shop", no_such_setting=1)
