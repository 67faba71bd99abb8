"""Every setting, from keyword arguments, ``RUNNEL_*`` environment variables, a file, or its default.

A keyword argument takes precedence over its variable, the variable over the file (`_settings._sources`), and
the file over the default. None, and only None, means "not given": 0 and False are values. Text is parsed,
then checked like a keyword argument. Wrong values are refused here, before anything has started.

A stream or a processor uses the settings called ``default_…`` unless its declaration gives another value;
`Settings.resolve` checks both by the same rule.
"""

from __future__ import annotations

import copy
import inspect
import os
import pkgutil
import textwrap
from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import Any, TypedDict, Unpack

import attrs

from runnel_trio._report._redaction import redacted
from runnel_trio._report._words import summary
from runnel_trio._settings._kinds import (
    Kind,
    boolean,
    choice,
    importable,
    mapping,
    member,
    number,
    pattern,
    shown,
    url,
    whole,
    zone,
)
from runnel_trio._settings._sources import Origins, nearest, unknown, variable, warn_of_near_misses
from runnel_trio.constants import ExceptionPolicy, Overflow
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Serializer

__all__ = ["Description", "GivenSettings", "Settings", "describe"]

#: Four times the hash slots of a cluster: more partitions could not be spread any further.
MOST_PARTITIONS = 65_536

SECONDS = number("a number of seconds, 0 or more")
SECONDS_ABOVE = number("a number of seconds above 0", above=True)
MILLISECONDS = whole("a whole number of milliseconds, 1 or more")
COUNT = whole("a whole number, 1 or more")


def _setting(default: Any, kind: Kind, unit: str, doc: str, **options: Any) -> Any:
    """One setting, with everything that is known about it."""
    return attrs.field(default=default, metadata={"kind": kind, "unit": unit, "doc": doc}, **options)


class GivenSettings(TypedDict, total=False):
    """The keyword arguments of `Settings` and `App`, for type checkers: what each setting may be given.

    Annotate your own function with it, if it passes settings on: ``**settings: Unpack[GivenSettings]``.
    """

    redis_url: str | None
    redis_options: Mapping[str, Any] | None
    redis_factory: Callable[[], Any] | str | None
    log_format: str | None
    log_level: str | None
    autodiscover: str | None
    timezone: tzinfo | str | None
    leadership_poll_interval: int | None
    testing: bool | None
    stall_limit: float | None
    default_partition_count: int | None
    default_partition_size: int | None
    default_overflow: Overflow | str | None
    default_max_event_bytes: int | None
    default_serializer: Serializer | str | None
    default_hasher: Callable[[Any], int] | str | None
    default_exception_policy: ExceptionPolicy | str | None
    default_max_attempts: int | None
    default_commit_replicas: int | None
    default_lock_expiry: float | None
    default_read_timeout: int | None
    default_prefetch_count: int | None
    default_prefetch_bytes: int | None
    default_max_unacked: int | None
    default_concurrency: int | None
    default_timeout: float | None
    default_max_ahead: int | None
    default_max_parked: int | None
    table_cache_bytes: int | None
    default_assignment_attempts: int | None
    default_assignment_sleep: float | None
    default_grace_period: float | None
    default_pool_size: int | None
    default_join_delay: float | None


# With a __dict__, which has the origins, so that they are copied and pickled too.
@attrs.frozen(kw_only=True, init=False, slots=False)
class Settings(Origins):
    """The settings of an app: keyword arguments first, then ``RUNNEL_*`` variables, a file, and defaults.

    `App` takes the same keyword arguments. The variable of a setting is ``RUNNEL_`` and its name in capitals,
    as in ``RUNNEL_LOG_LEVEL``. The file is the nearest ``runnel.toml``, or ``pyproject.toml`` with a table
    ``[tool.runnel]``, from the current directory upwards.

    Raises:
        Misconfigured: a value cannot be used, there is no such setting, or the file is not TOML. The message
            names the keyword, variable or file, the value, and what is expected.

    Example:
        >>> from runnel_trio.settings import Settings
        >>> settings = Settings(redis_url="127.0.0.1:6379", default_lock_expiry=5)
        >>> settings.redis_url, settings.default_lock_expiry
        ('redis://127.0.0.1:6379', 5.0)
        >>> Settings(default_lock_expiry=0)
        Traceback (most recent call last):
        ...
        runnel_trio.exceptions.Misconfigured: default_lock_expiry=0 cannot be used: expected a number of \
seconds above 0
    """

    redis_url: str = _setting(
        "redis://127.0.0.1:6379",
        url(),
        "",
        "The server: ``HOST:PORT``, ``redis://``, ``rediss://`` (TLS) or ``unix://``; "
        "``redis+sentinel://HOST,HOST/GROUP`` for the master of a group that Sentinels watch over; "
        "``redis+cluster://HOST,HOST`` for a cluster; ``embedded://`` or ``embedded://DIRECTORY`` for "
        "an embedded server; ``memory://`` for no server, in tests.",
        repr=lambda value: repr(redacted(value)),
    )
    redis_options: Mapping[str, Any] | None = _setting(
        None,
        mapping("a mapping of redis-py's names to values, as {'ssl_ca_certs': 'ca.pem'}"),
        "",
        "Keyword arguments of redis-py's connections, beside what the URL says: ``username``, ``password``, "
        "``socket_timeout``, ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_check_hostname``, "
        "``credential_provider``, …; those with ``sentinel_`` in front are for connections to Sentinels. "
        "In the environment, a JSON object.",
        repr=shown,
    )
    redis_factory: Callable[[], Any] | str | None = _setting(
        None,
        importable("a callable", callable),
        "",
        "Makes the redis-py client (``Redis``, that of ``Sentinel.master_for``, or ``RedisCluster``) from "
        "which address, login and options of all connections are taken, in the place of ``redis_url``: a "
        "callable without arguments, or its name.",
    )
    log_format: str = _setting(
        "console",
        choice("console", "json"),
        "",
        "How the command line writes its log: ``console`` for people, ``json`` for machines.",
    )
    log_level: str = _setting(
        "info",
        choice("debug", "info", "warning", "error", "critical"),
        "",
        "The least serious messages that the command line logs; ``debug``, ``info`` or ``warning`` is usual.",
    )
    autodiscover: str | None = _setting(
        None,
        pattern(),
        "",
        "Files that ``runnel-trio run`` imports before it starts, because they declare processors or tasks: "
        "a pattern as for `pathlib.Path.glob`, relative to the current directory. None imports no files.",
    )
    timezone: tzinfo = _setting(
        UTC,
        zone(),
        "",
        "The time zone of `App.crontab` schedules: a tzinfo of any kind, or a name like ``Europe/Berlin``.",
    )
    leadership_poll_interval: int = _setting(
        4000, MILLISECONDS, "ms", "The time between a worker's attempts to become the leader."
    )
    testing: bool = _setting(
        False,
        boolean(),
        "",
        "Says that a test suite is running. Kept for your own use: it changes nothing.",
    )
    stall_limit: float = _setting(
        300.0,
        SECONDS_ABOVE,
        "s",
        "How long a handler may block the event loop before the worker's partitions are given to others.",
    )
    default_partition_count: int = _setting(
        16,
        whole(f"a whole number from 1 to {MOST_PARTITIONS}", most=MOST_PARTITIONS),
        "partitions",
        "How many partitions a stream has. Once it has events, run `runnel-trio stream repartition` first.",
    )
    default_partition_size: int = _setting(
        50_000,
        COUNT,
        "events",
        "The room in each partition: how many events processors may fall behind before ``overflow`` applies.",
    )
    default_overflow: Overflow = _setting(
        Overflow.BLOCK,
        member(Overflow),
        "",
        "What `Stream.send` does when a partition has no room: ``block``, ``error`` or ``trim``.",
    )
    default_max_event_bytes: int = _setting(
        64 << 20,
        COUNT,
        "bytes",
        "The maximum size of an event, both stored and decompressed. A larger one is not sent; reading a "
        "larger one that another program has stored raises `DeserializationError`.",
    )
    default_serializer: Serializer | str | None = _setting(
        None,
        importable("an instance of a Serializer", lambda value: isinstance(value, Serializer)),
        "",
        "How records are stored: a `Serializer`, or the name of one or of its class. None takes "
        "`FastJSONSerializer` where orjson is installed (the ``fast`` extra), else `JSONSerializer`.",
    )
    default_hasher: Callable[[Any], int] | str | None = _setting(
        None,
        importable("a callable", callable),
        "",
        "Converts a record's partition key to a number, which decides the partition: a callable, or its "
        "name. None takes BLAKE3 of the key's canonical form.",
    )
    default_exception_policy: ExceptionPolicy = _setting(
        ExceptionPolicy.HALT,
        member(ExceptionPolicy),
        "",
        "What happens when a processor raises: ``halt``, ``quarantine`` or ``ignore``.",
    )
    default_max_attempts: int = _setting(
        3,
        COUNT,
        "attempts",
        "How often workers may die over an event before the exception policy applies to it.",
    )
    default_commit_replicas: int = _setting(
        0,
        whole("a whole number, 0 or more", least=0),
        "replicas",
        "How many replicas must have a commit before its events count as acknowledged.",
    )
    default_lock_expiry: float = _setting(
        10.0,
        SECONDS_ABOVE,
        "s",
        "How long a worker may be silent before its partitions go to others: the longest pause that a crash "
        "causes.",
    )
    default_read_timeout: int = _setting(
        2000, MILLISECONDS, "ms", "How long one blocking read waits for events; the next follows at once."
    )
    default_prefetch_count: int = _setting(
        1000, COUNT, "events", "How many events of each partition are read ahead, at most."
    )
    default_prefetch_bytes: int = _setting(
        4 << 20,
        COUNT,
        "bytes",
        "About how many bytes of each partition's events are read ahead: fewer events if they are large.",
    )
    default_max_unacked: int = _setting(
        1000,
        COUNT,
        "events",
        "How many handled events of each partition may wait for their commit; a crash can repeat that many. "
        "With 1, each is committed before the next is handled.",
    )
    default_concurrency: int = _setting(
        1,
        COUNT,
        "keys",
        "How many keys of each partition are handled at a time, each key's events one after another.",
    )
    default_timeout: float = _setting(
        0.0,
        SECONDS,
        "s",
        "How long handling one event, or one list, may take before it counts as failed; 0: as long as it "
        "takes.",
    )
    default_max_ahead: int = _setting(
        10_000,
        COUNT,
        "events",
        "How far the newest event in hand may be beyond the first that is not handled, where many keys are "
        "handled at a time.",
    )
    default_max_parked: int = _setting(
        10_000,
        COUNT,
        "events",
        "How many events of each partition may be parked; one more puts the partition in quarantine.",
    )
    table_cache_bytes: int = _setting(
        16 << 20,
        COUNT,
        "bytes",
        "About how many bytes of its tables' entries a worker keeps in memory.",
    )
    default_assignment_attempts: int = _setting(
        32,
        COUNT,
        "attempts",
        "How often a worker asks for partitions that another still holds before it logs an error; "
        "it goes on asking.",
    )
    default_assignment_sleep: float = _setting(
        2.0,
        SECONDS,
        "s",
        "The longest time between two such attempts; a released partition is noticed at once.",
    )
    default_grace_period: float = _setting(
        8.0, SECONDS, "s", "How long handlers may take to finish when a worker stops or releases partitions."
    )
    default_pool_size: int = _setting(
        16, COUNT, "connections", "How many connections a processor reads events with, at most."
    )
    default_join_delay: float = _setting(
        0.0, SECONDS, "s", "How long a worker that joins waits for others before it takes partitions."
    )

    def __init__(self, **given: Unpack[GivenSettings]) -> None:
        for name in given:
            if name not in _FIELDS:
                raise Misconfigured(unknown(name, _FIELDS, beside=("name", "metrics", "tracing")))
        warn_of_near_misses(os.environ, _FIELDS)
        filed, file = _of_file()
        origins: dict[str, str] = {}
        for name, field in _FIELDS.items():
            kind: Kind = field.metadata["kind"]
            chosen, text = given.get(name), os.environ.get(variable(name))
            if chosen is not None:
                value, origins[name] = kind.checked(name, chosen), "argument"
            elif text is not None:
                value, origins[name] = kind.checked(variable(name), text, text=True), variable(name)
            elif name in filed:
                value, origins[name] = filed[name], file
            else:
                value, origins[name] = field.default, "default"
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_origins", origins)

    def changed(self, origin: str = "argument", **given: Unpack[GivenSettings]) -> Settings:
        """A copy with some values changed; all others stay, with their origins.

        Args:
            origin: what `origins` says about them.
            **given: the settings to change; None takes the default.

        Raises:
            Misconfigured: as when settings are created.

        Example:
            >>> from runnel_trio.settings import Settings
            >>> Settings().changed("--redis-url", redis_url="db:6379").origins["redis_url"]
            '--redis-url'
        """
        changed = copy.copy(self)
        for name, value in given.items():
            if name not in _FIELDS:
                raise Misconfigured(unknown(name, _FIELDS))
            field = _FIELDS[name]
            new = field.default if value is None else field.metadata["kind"].checked(name, value)
            object.__setattr__(changed, name, new)
        object.__setattr__(changed, "_origins", {**self._origins, **dict.fromkeys(given, origin)})
        return changed

    def resolve(self, name: str, given: Any = None) -> Any:
        """The value that a stream or processor uses for one of its keyword arguments.

        Args:
            name: the keyword argument, as in ``lock_expiry``, or a setting.
            given: what was given for it; None takes the setting ``default_lock_expiry``.

        Returns:
            The checked value, in the type of the setting. A serializer or hasher given by name is imported
            now; the value is None if none was chosen.

        Raises:
            Misconfigured: ``given`` cannot be used, or the text does not name anything usable.

        Example:
            >>> Settings().resolve("lock_expiry", 30), Settings().resolve("lock_expiry")
            (30.0, 10.0)
        """
        setting = name if name in _FIELDS else f"default_{name}"
        kind: Kind = _FIELDS[setting].metadata["kind"]
        chosen = getattr(self, setting) if given is None else kind.checked(name, given)
        if isinstance(chosen, str):
            return _imported(setting if given is None else name, chosen, kind)
        return chosen


_FIELDS: Mapping[str, attrs.Attribute[Any]] = attrs.fields_dict(Settings)


def _of_file() -> tuple[dict[str, Any], str]:
    """The checked values of the file, and how to refer to the file."""
    file = nearest()
    if file is None:
        return {}, ""
    for name in file.values:
        if name not in _FIELDS:
            raise Misconfigured(f"{file.origin}: {unknown(name, _FIELDS)}")
    checked = {
        name: _FIELDS[name]
        .metadata["kind"]
        .checked(f"{file.origin}: {name}", value, text=isinstance(value, str))
        for name, value in file.values.items()
    }
    return checked, file.origin


def _imported(name: str, text: str, kind: Kind) -> Any:
    """The object with this name; for a serializer's class, an instance."""
    try:
        found = pkgutil.resolve_name(text)
        if isinstance(found, type) and issubclass(found, Serializer):
            found = found()
    except Exception as error:
        raise Misconfigured(f"{name}={text!r} cannot be imported ({summary(error)})") from error
    if isinstance(found, str):
        raise Misconfigured(f"{name}={text!r} names a text: expected {kind.expected}")
    return kind.checked(f"{name}={text!r}: what it names,", found)


@attrs.frozen(kw_only=True)
class Description:
    """Everything about one setting.

    Attributes:
        name: the keyword argument.
        variable: the environment variable.
        default: its default, as text.
        unit: its unit; empty if it has none.
        doc: what it does, in reStructuredText.
    """

    name: str
    variable: str
    default: str
    unit: str
    doc: str


def describe() -> list[Description]:
    """Every setting, in the order of `Settings`; the table in the documentation is generated from it.

    Example:
        >>> from runnel_trio.settings import describe
        >>> {x.name: x.default for x in describe()}["default_lock_expiry"]
        '10'
    """
    return [
        Description(
            name=name,
            variable=variable(name),
            default=shown(field.default),
            unit=field.metadata["unit"],
            doc=field.metadata["doc"],
        )
        for name, field in _FIELDS.items()
    ]


def _documented(doc: str) -> str:
    """The docstring of `Settings` with all settings, so that their texts are written only once."""
    lines = [
        textwrap.fill(
            f"{x.name}: {x.doc} Default: {x.default}{f' {x.unit}' if x.unit in {'s', 'ms'} else ''}.",
            width=106,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
        )
        for x in describe()
    ]
    # Python 3.13 removes the indentation of docstrings by itself.
    return inspect.cleandoc(doc).replace("Example:", "\n".join(["Attributes:", *lines, "", "Example:"]), 1)


Settings.__doc__ = _documented(Settings.__doc__ or "")
