"""What the converter's hooks have in common: faults, traits, and the search for the path of a fault.

The hooks that run for every event do not track where they are: that would cost more than the work itself.
They raise without a path. Only then does `locate` walk down the same value with the same hooks, and find the
part whose own hook fails.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any, TypeAlias, TypeVar

import attrs

from runnel_trio._codec._fast._precheck import Precheck
from runnel_trio._report._words import described, summary
from runnel_trio.exceptions import RecordInvalid

__all__ = [
    "Hook",
    "Mismatch",
    "MsgspecRead",
    "Part",
    "Traits",
    "Unsupported",
    "foreign",
    "hinted",
    "locate",
    "msgspec_read_of",
    "precheck_of",
    "refuse",
    "trait",
    "traits_of",
]

#: Converts one value, in one direction; may raise anything.
Hook: TypeAlias = Callable[..., Any]
#: A step such as ``.price`` or ``[2]``, the value there, and the hook for it.
Part: TypeAlias = tuple[str, Any, Hook]

_H = TypeVar("_H", bound=Hook)

#: How deep a fault is looked for. Each level converts everything below it again, and an attacker could hide
#: a fault so deep that this would take hours.
_LEVELS = 32


class Mismatch(Exception):
    """A value does not fit its type; ``step`` leads to where it should be."""

    def __init__(self, reason: str, step: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.step = step


class Unsupported(Exception):
    """A type that no hook can convert; ``path`` leads to its annotation."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path

    def below(self, step: str) -> Unsupported:
        """The same error, with the path from one level up."""
        return Unsupported(self.reason, step + self.path)


def refuse(expected: str, value: Any) -> Mismatch:
    """The usual fault, as in ``expected int, got str 'x'``."""
    return Mismatch(f"expected {expected}, got {shown(value)}")


def shown(value: Any, limit: int = 60) -> str:
    """Type and (shortened) text of a value."""
    if value is None:
        return "None"
    text = described(value)
    return f"{type(value).__name__} {text if len(text) <= limit else text[:limit] + '...'}"


def hinted(record: type[Any], value: Any, where: tuple[str, str]) -> tuple[str, str]:
    """The path and the reason; where a value of another type was given as a record, with what to write."""
    path, reason = where
    if path or isinstance(value, record):
        return where
    name = record.__name__
    if isinstance(value, Mapping):
        return path, f"{reason}: make a record of it, as in {name}(**…)"
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | type):
        return path, f"{reason}: write a * before it, so that each of its records is an argument"
    if value is record:
        return path, f"{reason}: make a record of the class, as in {name}(…)"
    return where


def foreign(record: type[Any], value: Any) -> RecordInvalid:
    """The error for a value that is not a record of this class."""
    path, reason = hinted(record, value, ("", refuse(record.__name__, value).reason))
    return RecordInvalid(record.__name__, path, reason)


@attrs.frozen
class MsgspecRead:
    """How msgspec reads JSON for a hook, without a plain form in between; see `_fast._msgspec_read`.

    Attributes:
        form: the type that msgspec is asked for. It may refuse what the hook accepts, but must never accept
            what the hook, after a general parser, would refuse or read differently.
        convert: makes of it what the hook makes of the plain form; None if it is that already. May raise.
    """

    form: Any
    convert: Callable[[Any], Any] | None = None


@attrs.frozen(kw_only=True)
class Traits:
    """What this library knows of a hook of its own; users' hooks have none.

    Attributes:
        hook: the hook that has them: `functools.wraps` would copy them to a user's hook.
        exact: the scalar type that the hook is for. Subclasses inherit the hook, and must not use it.
        bare: the same hook without what only calls by the converter need.
        inline: source of a condition on ``{v}`` under which a value converts to itself, for generated code.
            It may use the names in `_precheck.NAMES`.
        elements: if this hook converts lists: tells whether the elements of one convert to themselves, and so
            the list does.
        plain: tells in one pass at C speed whether every element of a collection converts to itself.
        precheck: when a value is certain to encode; None if that cannot be told.
        parts: the parts of a value, for `locate`. May raise `Mismatch`.
        msgspec_read: msgspec → how it reads JSON for this hook; None if it cannot.
    """

    hook: Hook
    exact: type | None = None
    bare: Hook | None = None
    inline: str | None = None
    elements: Callable[[Collection[Any]], bool] | None = None
    plain: Callable[[Collection[Any]], bool] | None = None
    precheck: Precheck | None = None
    parts: Callable[[Any], Iterator[Part]] = attrs.field(default=lambda _: iter(()))
    msgspec_read: Callable[[ModuleType], MsgspecRead | None] = attrs.field(default=lambda _: None)


def trait(**values: Any) -> Callable[[_H], _H]:
    """Decorator: mark a hook as one of ours, which can be called with the value as its only argument."""

    def mark(hook: _H) -> _H:
        vars(hook)["runnel_traits"] = Traits(hook=hook, **values)
        return hook

    return mark


def traits_of(hook: Hook) -> Traits | None:
    """The traits of a hook of ours; None for a user's."""
    found = getattr(hook, "runnel_traits", None)
    return found if isinstance(found, Traits) and found.hook is hook else None


def msgspec_read_of(hook: Hook, msgspec: ModuleType) -> MsgspecRead | None:
    """How msgspec reads JSON for a hook; None if it cannot, and for a user's hook."""
    traits = traits_of(hook)
    return traits.msgspec_read(msgspec) if traits else None


def precheck_of(hook: Hook) -> Precheck | None:
    """When a hook is certain to write a value; None for a user's hook."""
    traits = traits_of(hook)
    return traits.precheck if traits else None


def locate(hook: Hook, value: Any, path: str = "", levels: int = _LEVELS) -> tuple[str, str] | None:
    """The path and the reason of the first part of ``value`` that ``hook`` cannot convert; None if it can."""
    try:
        hook(value)
    except Exception as error:  # hooks are users' code too
        return _within(hook, value, path, levels) or _here(error, path)
    return None


def _within(hook: Hook, value: Any, path: str, levels: int) -> tuple[str, str] | None:
    traits = traits_of(hook)
    if traits is None or not levels:
        return None
    try:
        for step, part, part_hook in traits.parts(value):
            if found := locate(part_hook, part, path + step, levels - 1):
                return found
    except Mismatch as error:
        return _here(error, path)
    return None


def _here(error: Exception, path: str) -> tuple[str, str]:
    if isinstance(error, Mismatch):
        return path + error.step, error.reason
    if isinstance(error, RecursionError):
        return "", "nested too deeply, or contains itself"
    return path, summary(error)
