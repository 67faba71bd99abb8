"""Every class, method, parameter, attribute and setting of the runnel reference exists here, under its name.

What differs on purpose stands in `DIFFERENT`, with the reason; nothing else may.
"""

from __future__ import annotations

import enum
import importlib
import inspect
from inspect import Parameter
from pathlib import Path
from typing import Any

import attrs
import pytest

from runnel_trio import App, Event, Record
from runnel_trio._event import Partition
from runnel_trio.settings import Settings, describe

DOCS = Path(__file__).parents[2] / "docs" / "reference"

EITHER, NAMED = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
MANY, OPTIONS = Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD
NONE, REQUIRED = None, Parameter.empty

#: Callables as the reference writes them, after "runnel": parameters in their order, kind, default.
CALLABLES: dict[str, list[tuple[str, Any, Any]]] = {
    "App": [("name", EITHER, REQUIRED), ("kwargs", OPTIONS, REQUIRED)],
    "App.stream": [
        ("name", EITHER, REQUIRED),
        ("record", EITHER, REQUIRED),
        ("partition_by", EITHER, REQUIRED),
        ("serializer", EITHER, NONE),
        ("partition_count", EITHER, NONE),
        ("partition_size", EITHER, NONE),
        ("hasher", EITHER, NONE),
    ],
    "App.processor": [
        ("stream", EITHER, REQUIRED),
        ("name", NAMED, NONE),
        ("exception_policy", NAMED, NONE),
        ("middleware", NAMED, NONE),
        ("lock_expiry", NAMED, NONE),
        ("read_timeout", NAMED, NONE),
        ("prefetch_count", NAMED, NONE),
        ("assignment_attempts", NAMED, NONE),
        ("assignment_sleep", NAMED, NONE),
        ("grace_period", NAMED, NONE),
        ("pool_size", NAMED, NONE),
        ("join_delay", NAMED, NONE),
    ],
    "App.task": [("func", EITHER, NONE), ("on_leader", NAMED, False)],
    "App.timer": [("interval", NAMED, REQUIRED), ("on_leader", NAMED, False)],
    "App.crontab": [("spec", EITHER, REQUIRED), ("timezone", NAMED, NONE), ("on_leader", NAMED, False)],
    "Events.take": [("n", EITHER, REQUIRED), ("within", EITHER, REQUIRED)],
    "Events.records": [],
    "Stream.send": [("records", MANY, REQUIRED), ("stream_ids", NAMED, NONE)],
    "interfaces.Serializer": [("compressor", EITHER, NONE)],
    "interfaces.Serializer.dumps": [("value", EITHER, REQUIRED)],
    "interfaces.Serializer.loads": [("value", EITHER, REQUIRED)],
    "interfaces.Compressor": [],
    "interfaces.Compressor.compress": [("value", EITHER, REQUIRED)],
    "interfaces.Compressor.decompress": [("value", EITHER, REQUIRED)],
    "interfaces.Middleware": [],
    "interfaces.Middleware.handler": [("parent", EITHER, REQUIRED), ("kwargs", OPTIONS, REQUIRED)],
    "constants.ExceptionPolicy": [("value", EITHER, REQUIRED)],
}

#: Where the reference's examples import things from, and what it has sections of.
NAMES: dict[str, list[str]] = {
    "runnel_trio": ["App", "Record", "Events", "Event", "Partition", "Stream", "JSONSerializer"],
    "runnel_trio.settings": ["Settings"],
    "runnel_trio.interfaces": ["Compressor", "Serializer", "Middleware"],
    "runnel_trio.constants": ["ExceptionPolicy"],
    "runnel_trio.middleware": [],
}

#: Attributes of what processors are handed.
VARIABLES: list[tuple[type, str]] = [
    (Event, "partition"),
    (Event, "xid"),
    (Event, "data"),
    (Event, "group"),
    (Event, "recovering"),
    (Partition, "number"),
    (Partition, "key"),
]

SETTINGS: dict[str, Any] = {
    "redis_url": "redis://127.0.0.1:6379",
    "log_format": "console",
    "log_level": "info",
    "autodiscover": None,
    "timezone": "pytz.UTC",
    "leadership_poll_interval": 4000,
    "testing": False,
    "default_partition_count": 16,
    "default_serializer": "runnel.serialization.default",
    "default_hasher": "runnel.hashing.default",
    "default_exception_policy": "halt",
    "default_lock_expiry": 120,
    "default_read_timeout": 2000,
    "default_prefetch_count": 8,
    "default_assignment_attempts": 32,
    "default_assignment_sleep": 2,
    "default_grace_period": 8,
    "default_pool_size": 16,
    "default_join_delay": 2,
    "default_partition_size": 50000,
}

UNITS = {
    "leadership_poll_interval": "ms",
    "default_lock_expiry": "s",
    "default_read_timeout": "ms",
    "default_assignment_sleep": "s",
    "default_grace_period": "s",
    "default_join_delay": "s",
}

#: Defaults that differ on purpose: what they are here, and why.
DIFFERENT: dict[str, tuple[str, str]] = {
    "default_lock_expiry": ("10", "there a killed worker's partitions stood still for up to two minutes"),
    "default_join_delay": ("0", "there the first event came more than four seconds after the start"),
    "default_prefetch_count": ("1000", "measured: a round trip for 8 events costs more than the events"),
    "default_hasher": ("None", "blake3 over a canonical key, with or without extras"),
    "timezone": ("UTC", "the same zone, from the standard library instead of pytz"),
}

#: Written otherwise, and the same: orjson where it is installed, else json.
SAME = {"default_serializer": "None"}


def named(path: str) -> Any:
    """What is called ``path`` below `runnel_trio`."""
    found: Any = importlib.import_module("runnel_trio")
    for part in path.split("."):
        found = (
            getattr(found, part) if hasattr(found, part) else importlib.import_module(f"runnel_trio.{part}")
        )
    return found


def parameters(path: str) -> list[Parameter]:
    thing = named(path)
    if isinstance(thing, type) and issubclass(thing, enum.Enum):  # of which Python 3.12 only says "*values"
        return [Parameter("value", Parameter.POSITIONAL_OR_KEYWORD)]
    found = list(inspect.signature(thing).parameters.values())
    return [x for x in found if x.name != "self"]


@pytest.mark.parametrize("path", CALLABLES)
def test_every_parameter_of_the_reference_is_here(path: str) -> None:
    here = {x.name: x for x in parameters(path)}
    catches_all = [x for x in here.values() if x.kind is OPTIONS]
    for name, kind, default in CALLABLES[path]:
        if kind is OPTIONS:
            assert catches_all
        else:
            assert (here[name].kind, here[name].default) == (kind, default), name


@pytest.mark.parametrize("path", CALLABLES)
def test_positional_parameters_have_the_order_of_the_reference(path: str) -> None:
    wanted = [name for name, kind, _ in CALLABLES[path] if kind is EITHER]
    assert [x.name for x in parameters(path) if x.kind is EITHER][: len(wanted)] == wanted


@pytest.mark.parametrize("path", CALLABLES)
def test_what_is_new_can_be_left_out(path: str) -> None:
    there = {name for name, _, _ in CALLABLES[path]}
    new = [x for x in parameters(path) if x.name not in there and x.kind not in {OPTIONS, MANY}]
    # `events` is what the framework gives to every handler, not what a user's handler must take.
    assert [x.name for x in new if x.default is REQUIRED] in ([], ["events"])


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in NAMES.items() for n in names])
def test_names_are_where_the_reference_has_them(module: str, name: str) -> None:
    found = importlib.import_module(module)
    assert hasattr(found, name)
    assert name in found.__all__


@pytest.mark.parametrize(("owner", "name"), VARIABLES)
def test_events_and_partitions_have_the_variables_of_the_reference(owner: Any, name: str) -> None:
    assert name in {x.name for x in attrs.fields(owner)} or isinstance(getattr(owner, name), property)


def test_records_are_made_by_keyword_and_may_be_primitive() -> None:
    class UserAction(Record, primitive=True):
        user_id: int

    assert UserAction(user_id=1).user_id == 1


@pytest.mark.parametrize(
    ("name", "value"), [("HALT", "halt"), ("QUARANTINE", "quarantine"), ("IGNORE", "ignore")]
)
def test_policies_have_the_values_of_the_reference(name: str, value: str) -> None:
    assert named("constants.ExceptionPolicy")[name].value == value


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_the_references_default_or_a_reason(name: str) -> None:
    here = {x.name: x for x in describe()}[name]
    if name in DIFFERENT:
        wanted = DIFFERENT[name][0]
        assert str(SETTINGS[name]) != wanted
    else:
        wanted = SAME.get(name, str(SETTINGS[name]))
    assert here.default == wanted
    assert here.variable == f"RUNNEL_{name.upper()}"
    if name in UNITS:
        assert here.unit == UNITS[name]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_a_keyword_of_app_and_a_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    default = getattr(Settings(), name)
    assert getattr(App("example", **{name: default}).settings, name) == default
    if isinstance(default, int) and not isinstance(default, bool):
        monkeypatch.setenv(f"RUNNEL_{name.upper()}", "3")
        assert getattr(App("example").settings, name) == 3
        assert getattr(App("example", **{name: 4}).settings, name) == 4


def test_the_documentation_tells_of_exactly_these_differences() -> None:
    page = (DOCS / "settings.rst").read_text(encoding="utf-8")
    section = page.partition("Other defaults than runnel's")[2].partition("New here are")[0]
    told = {name for name in SETTINGS if f"``{name}``" in section}
    assert told == set(DIFFERENT)


def test_what_is_new_among_the_settings_is_told() -> None:
    page = (DOCS / "settings.rst").read_text(encoding="utf-8")
    for name in {x.name for x in describe()} - SETTINGS.keys():
        assert f"``{name}``" in page.partition("New here are")[2], name


def test_processor_keywords_and_their_settings_belong_together() -> None:
    """A keyword of a stream or processor that has a default elsewhere has a setting of that name, and back."""
    keywords = {x.name for path in ("App.stream", "App.processor") for x in parameters(path)}
    settings = {x.name.removeprefix("default_") for x in describe() if x.name.startswith("default_")}
    here_only = {"name", "record", "partition_by", "stream", "middleware"}
    here_only |= {"outputs", "park_retry", "tables"}
    assert keywords - here_only == settings
