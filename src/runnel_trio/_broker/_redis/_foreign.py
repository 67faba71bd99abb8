"""What somebody else has put at a key of ours: the server says that it is of a wrong type, but not which key.

So the server is asked for the types of all keys that a refused command has. It costs nothing where nothing is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from redis.exceptions import ResponseError

__all__ = ["explain_foreign", "is_foreign", "keys_in"]

#: By what their names say, see `_keys`.
_KINDS = {
    "assignment": "hash",
    "control": "stream",
    "due": "zset",
    "lease": "hash",
    "log": "stream",
    "members": "hash",
    "meta": "hash",
    "producers": "hash",
    "quarantine": "string",
    "table": "hash",
}
_SCRIPTS = ("EVAL", "EVALSHA")


def is_foreign(reply: Any) -> bool:
    """Whether a reply refuses a command because of what is at one of its keys."""
    return isinstance(reply, ResponseError) and str(reply).startswith("WRONGTYPE")


def keys_in(words: Sequence[Any]) -> list[str]:
    """The keys of a command: those of a script, or the one that comes first."""
    return list(words[3 : 3 + words[2]] if words[0] in _SCRIPTS else words[1:2])


def explain_foreign(
    ask: Callable[[Sequence[tuple[Any, ...]]], Sequence[Any]], keys: Collection[str]
) -> ResponseError:
    """The refusal in words that say which key it is, and what to do.

    Args:
        ask: has commands carried; their replies, or ResponseErrors in their place.
        keys: of the command.
    """
    replies = ask([("TYPE", key) for key in keys])
    types = {key: _text(reply) for key, reply in zip(keys, replies, strict=True)}
    found = [
        f"{key} is a {there}, and runnel-trio keeps a {kind} there"
        for key, there in types.items()
        if (kind := _kind_of(key)) is not None and there not in {kind, "none", ""}
    ]
    which = "; ".join(found) or f"the value at one of {', '.join(keys)} is of another type than runnel-trio's"
    return ResponseError(
        f"WRONGTYPE {which}. Something else writes to this key. Stop that, move the value away (RENAME) or "
        "delete it (DEL), then start again"
    )


def _kind_of(key: str) -> str | None:
    name, *parts = key.rpartition("}:")[2].split(":")
    return _KINDS.get(parts[0] if parts else name)


def _text(reply: Any) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply if isinstance(reply, str) else ""
