"""The kinds of values that settings have: what is expected, and how a value is parsed and checked.

`Kind.accept` takes what a program gives; `Kind.read` converts text from the environment or a file to that.
Both refuse with ValueError, TypeError or LookupError, which `Kind.checked` turns into one sentence.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, tzinfo
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import attrs

from runnel_trio._report._redaction import HARMLESS, legible, redacted, redacted_text
from runnel_trio._settings._urls import FORMS, Unusable, server_url
from runnel_trio.exceptions import Misconfigured

__all__ = [
    "Kind",
    "boolean",
    "choice",
    "importable",
    "mapping",
    "member",
    "number",
    "pattern",
    "shown",
    "url",
    "whole",
    "zone",
]

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*([.:][^\W\d]\w*)(\.[^\W\d]\w*)*")


#: Schemes whose rest is a name that is taken as it stands.
LITERAL = frozenset({"embedded", "memory"})
#: Characters of a value that an error has, at most: the URL of a large cluster is not cut off.
_TOLD = 1000
#: A scheme whose colon, or second slash, was forgotten: it would be taken for a host.
TORN = re.compile(rf"({'|'.join(map(re.escape, sorted(FORMS)))})(:?)/+", re.IGNORECASE)


def refuse() -> Any:
    """The end of a check that failed."""
    raise ValueError


def _unspoken(key: str, value: Any) -> Any:
    """An option's value, if it may be told."""
    return value if value is None or HARMLESS.fullmatch(key) else "***"


def shown(value: Any) -> str:
    """The value of a setting, as it would be written in the environment where it can be."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, Mapping):
        return json.dumps({key: _unspoken(key, x) for key, x in value.items()}, default=str)
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}:{name}" if name else str(value)


@attrs.frozen(kw_only=True)
class Kind:
    """A kind of value.

    Attributes:
        expected: what is expected, in words that follow "expected".
        accept: the value to use for one that a program gave.
        read: what `accept` takes, for text of the environment or of a file.
        show: how a refused value is shown.
    """

    expected: str
    accept: Callable[[Any], Any]
    read: Callable[[str], Any] = lambda text: text
    show: Callable[[Any], str] = lambda value: redacted_text(repr(value))

    def checked(self, name: str, value: Any, *, text: bool = False) -> Any:
        """The value to use.

        Args:
            name: the keyword argument, variable, or file and key that had it.
            value: what was given.
            text: whether it is text of the environment or of a file, where blanks around it mean nothing.

        Raises:
            Misconfigured: it cannot be used; the message has name, value and what is expected.
        """
        told = ""
        try:
            return self.accept(self.read(value.strip()) if text else value)
        except Unusable as error:
            told = f": {error}"
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            pass
        try:
            shown = legible(self.show(value), _TOLD)
        except ValueError:  # Python does not write numbers of very many digits
            shown = f"a very large {type(value).__name__}"
        raise Misconfigured(f"{name}={shown} cannot be used{told}: expected {self.expected}")


def number(expected: str, *, above: bool = False) -> Kind:
    """A finite number, from 0 or above it."""

    def accept(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TypeError
        return float(value) if value > 0 or (value == 0 and not above) else refuse()

    return Kind(expected=expected, accept=accept, read=float)


def whole(expected: str, *, least: int = 1, most: int = 2**53) -> Kind:
    """A whole number, from ``least`` to ``most``."""

    def accept(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise TypeError
        return int(value) if least <= value <= most else refuse()

    return Kind(expected=expected, accept=accept, read=int)


def choice(*words: str) -> Kind:
    """One of some words, whatever its case."""
    return Kind(
        expected=f"one of {', '.join(words)}",
        accept=lambda value: words[words.index(value.lower() if isinstance(value, str) else value)],
    )


def member(kind: type[enum.Enum]) -> Kind:
    """A member of an enumeration, or its value as text, whatever the case."""
    return Kind(
        expected=f"{kind.__name__}, or one of {', '.join(x.value for x in kind)}",
        accept=lambda value: kind(value.lower() if isinstance(value, str) else value),
    )


def boolean() -> Kind:
    """True or False."""

    def read(text: str) -> bool:
        word = text.strip().lower()
        return word in TRUE if word in TRUE | FALSE else refuse()

    return Kind(
        expected="True or False; true or false in the environment and in files",
        accept=lambda value: value if isinstance(value, bool) else refuse(),
        read=read,
    )


def url() -> Kind:
    """Where the server is."""
    return Kind(
        expected="HOST:PORT, redis://…, rediss://…, redis+sentinel://HOST,…/GROUP, redis+cluster://HOST,…, "
        "unix://PATH, embedded://[DIRECTORY] or memory:// (in a password, write %40 for @, %2F for /, "
        "%3F for ?, %23 for #)",
        accept=_with_scheme,
        show=lambda value: repr(redacted(value)) if isinstance(value, str | int) else type(value).__name__,
    )


def _with_scheme(value: str) -> str:
    """Host and port alone mean ``redis://``.

    A password that should have been quoted must not be taken for a port or a path: redis-py would show it.
    """
    if not isinstance(value, str):
        raise TypeError
    if "://" not in value and (torn := TORN.match(value)):
        missing = "second slash" if torn[2] else "colon"
        meant = redacted(f"{torn[1]}://{value[torn.end() :]}")
        raise Unusable(f"the {missing} is missing, write {meant}")
    given = value if "://" in value else f"redis://{value}"
    parts = urlsplit(given)
    if parts.scheme not in FORMS or "\0" in given:
        raise ValueError
    if parts.scheme not in LITERAL:
        socket = parts.scheme == "unix"
        if not given.isprintable() or (" " in given and not socket):
            raise Unusable("a blank, or what is no character, must not stand in it as it is (write %20)")
        if server_url(given).form == "server":
            _ = parts.port  # raises ValueError where it is none
        names = [part.partition("=")[0] for part in parts.query.split("&") if part]
        if parts.fragment or ("@" in parts.path and not socket) or not all(map(str.isidentifier, names)):
            raise ValueError
    if (given != value and not parts.hostname) or (parts.scheme == "unix" and not parts.path):
        raise ValueError
    return given


def mapping(expected: str) -> Kind:
    """A mapping with text for keys; a JSON object in the environment."""

    def accept(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise TypeError
        return dict(value)

    return Kind(
        expected=expected, accept=accept, read=json.loads, show=lambda value: "…" if value else repr(value)
    )


def zone() -> Kind:
    """A tzinfo as it is, or the zone of a name."""
    return Kind(
        expected="a tzinfo object, or the name of a time zone as in 'Europe/Berlin'",
        accept=lambda value: value if isinstance(value, tzinfo) else _zone(value),
    )


def _zone(name: str) -> tzinfo:
    """The zone of a name; where the system has no zones, dateutil brings them."""
    if not isinstance(name, str) or not name:
        raise TypeError
    if name.upper() == "UTC":
        return UTC
    with suppress(LookupError, OSError):  # OSError: too long for the name of a file
        return ZoneInfo(name)
    with suppress(OSError):
        from dateutil import tz  # here: most systems have zones

        found = tz.gettz(name)
        if found is not None:
            return found
    raise ValueError(name)


def pattern() -> Kind:
    """What `pathlib.Path.glob` takes."""
    return Kind(
        expected="a pattern as in 'myproj/**/streams.py', relative to the current directory",
        accept=lambda value: value if value and not os.path.isabs(value) else refuse(),
    )


def importable(noun: str, fits: Callable[[Any], bool]) -> Kind:
    """An object that fits, or text that names one, which is imported when it is needed."""
    return Kind(
        expected=f"{noun}, or its name as in 'package.module:name'",
        accept=lambda value: (
            value if (DOTTED.fullmatch(value) if isinstance(value, str) else fits(value)) else refuse()
        ),
    )
