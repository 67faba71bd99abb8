"""The scripts, and the one way in which they are called.

A script travels by its digest; where the server does not know it (restarted, flushed), the text follows at
once on the same connection. redis-py's own helper loads the script and then calls it, and loses when it is
flushed between the two.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from importlib import resources
from itertools import count
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import attrs
from redis.exceptions import NoScriptError, ResponseError

from runnel_trio._broker._redis._foreign import explain_foreign, is_foreign, keys_in

try:
    import hiredis
except ImportError:
    _pack: Callable[[Any], Any] | None = None
else:
    _pack = hiredis.pack_command

__all__ = [
    "Ask",
    "Call",
    "Command",
    "LazyList",
    "Node",
    "PlainCommand",
    "ask",
    "by_digest",
    "commands_at",
    "exchange",
    "read_replies",
    "settle",
]

_T = TypeVar("_T")
#: A node of a cluster: host and port.
Node: TypeAlias = tuple[str, int]

#: What each script needs in front of its own text.
_PARTS = {
    "send": ("_ids", "_state", "_room"),
    "acquire": ("_state",),
    "mark_attempt": (),
    "commit": ("_ids", "_state", "_room", "_output", "_parked", "_tables"),
    "write_table": ("_tables",),
    "copy_table": ("_tables",),
    "drop_tables": (),
    "change_parked": ("_parked",),
    "parked_heads": (),
    "relay": ("_ids", "_state", "_room"),
    "log_states": ("_state",),
    "release": (),
    "quarantine": (),
    "pause": (),
    "forget": ("_state",),
    "resume": ("_ids", "_state", "_room", "_output"),
    "rewind": ("_ids", "_state"),
    "transfer": ("_ids", "_state", "_room", "_output"),
    "beat": ("_members",),
    "members": ("_members",),
    "plan": ("_members",),
    "survey": ("_state",),
    "standing": ("_state",),
    "muster": ("_members",),
    "ended": (),
    "announce": ("_members",),
    "leave": ("_members",),
    "disband": ("_members",),
    "declare": ("_meta",),
    "layout": ("_meta",),
    "seal": (),
    "create_groups": ("_state",),
    "groups": ("_state",),
    "undrained": ("_ids", "_state", "_behind"),
    "discard": ("_ids", "_state", "_behind"),
}


#: Bytes of calls that leave together.
_PIECE = 1 << 12


def _text(name: str) -> str:
    return (
        resources.files("runnel_trio._broker._redis")
        .joinpath("scripts", f"{name}.lua")
        .read_text(encoding="utf-8")
    )


@cache
def source(name: str) -> str:
    """The whole text of a script; its flags, if any, come first as the server demands."""
    own = _text(name)
    flags = own[: own.index("\n") + 1] if own.startswith("#!lua") else ""
    return flags + "".join(map(_text, _PARTS[name])) + own[len(flags) :]


@cache
def digest(name: str) -> str:
    """The SHA-1 by which the server knows the script."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()


#: How a server says where in a script something failed.
_FAILED_AT = re.compile(r"\b([0-9a-f]{40}), on @user_script:(\d+)")
_CALLS = re.compile(r"redis\.p?call\('(\w+)'(?:, '([A-Z]+)', )?")
_WITH_PARTS = {"MEMORY", "XGROUP", "XINFO"}


def commands_at(message: str) -> str:
    """The commands that stand where a script failed, as ``'xlen'`` or ``'xinfo|groups'``; empty if not known.

    For Redis 7.0, which does not say what a user may not run; later servers give another position.
    """
    at = _FAILED_AT.search(message)
    name = next((x for x in _PARTS if at and digest(x) == at[1]), None)
    if at is None or name is None:
        return ""
    calls = _CALLS.findall(source(name).split("\n")[int(at[2]) - 1])
    words = [f"{x}|{part}" if x in _WITH_PARTS else x for x, part in calls]
    return " or ".join(f"'{x.lower()}'" for x in words)


@attrs.frozen
class Call:
    """One call of a script: its name, the keys it touches, and its arguments."""

    script: str
    keys: Sequence[str]
    arguments: Sequence[bytes | str | int]

    @property
    def route(self) -> str | Node:
        """See `Command`."""
        return self.keys[0]

    def by_digest(self) -> tuple[Any, ...]:
        """As a command that names the script."""
        return "EVALSHA", digest(self.script), len(self.keys), *self.keys, *self.arguments

    def by_text(self) -> tuple[Any, ...]:
        """As a command that carries the script."""
        return "EVAL", source(self.script), len(self.keys), *self.keys, *self.arguments


@attrs.frozen
class PlainCommand:
    """A command that is no script.

    Attributes:
        words: the command and its arguments.
        where: see `Command.route`; None: the first argument is a key.
    """

    words: tuple[Any, ...]
    where: str | Node | None = None
    script = ""

    @property
    def route(self) -> str | Node:
        """See `Command`."""
        return str(self.words[1]) if self.where is None else self.where

    def by_digest(self) -> tuple[Any, ...]:
        """The command."""
        return self.words

    def by_text(self) -> tuple[Any, ...]:
        """The command."""
        return self.words


#: Carries calls, and gives their replies.
Ask: TypeAlias = Callable[[Sequence[Call | PlainCommand]], Awaitable[list[Any]]]


class Command(Protocol):
    """What a connection can carry: a `Call`, a `PlainCommand`, or what becomes one when it leaves."""

    @property
    def script(self) -> str:
        """The script's name, or nothing."""
        ...

    @property
    def route(self) -> str | Node:
        """Where it belongs in a cluster: with a key, or on a node; nothing means any."""
        ...

    def by_digest(self) -> tuple[Any, ...]:
        """The words, which name the script."""
        ...

    def by_text(self) -> tuple[Any, ...]:
        """The words, which carry the script."""
        ...


@attrs.define(eq=False)
class LazyList(Generic[_T]):
    """A list whose items are made on first access, by iterating."""

    _source: Iterator[_T]
    _made: list[_T] = attrs.field(factory=list, init=False)

    def __iter__(self) -> Iterator[_T]:
        made = self._made
        for i in count():  # somebody else may iterate meanwhile, so each looks at what is made already
            if i == len(made):
                for item in self._source:
                    made.append(item)
                    break
                else:
                    return
            yield made[i]


def by_digest(connection: Any, calls: Iterable[Command]) -> Iterator[bytes]:
    """As `pieces`, of calls that name their scripts."""
    return pieces(connection, (call.by_digest() for call in calls))


def pieces(connection: Any, commands: Iterable[tuple[Any, ...]]) -> Iterator[bytes]:
    """Commands as bytes to be sent, in pieces: the server works on one while the next is packed."""
    # Any, here and below: redis-py types the methods of connections only in part.
    gathered: list[bytes] = []
    size = 0
    for command in commands:
        text = _packed(connection, command)
        gathered.append(text)
        size += len(text)
        if size > _PIECE:
            yield b"".join(gathered)
            gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def _packed(connection: Any, command: tuple[Any, ...]) -> bytes:
    """By hiredis itself, where it is there: redis-py first looks at each word, which takes longer."""
    packed: bytes
    if _pack is None:
        return b"".join(connection.pack_command(*command))
    try:
        packed = _pack(command)
    except TypeError:  # of a word that redis-py may know how to write, as a serializer's bytearray
        packed = b"".join(connection.pack_command(*command))
    return packed


def read_replies(connection: Any, count: int) -> list[Any]:
    """So many replies, or ResponseErrors in their place."""
    replies = []
    for _ in range(count):
        try:
            replies.append(connection.read_response())
        except ResponseError as refused:
            replies.append(refused)
    return replies


def settle(connection: Any, calls: Sequence[Command], replies: list[Any]) -> list[Any]:
    """The replies, after calls of scripts that the server has forgotten were repeated.

    What is refused for another type of value names the key.
    """
    while unknown := [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]:
        again = [calls[i] for i in unknown]
        for i, reply in zip(unknown, ask(connection, list(_with_texts(again))), strict=True):
            replies[i] = reply
    for i, reply in enumerate(replies):
        if is_foreign(reply):
            replies[i] = explain_foreign(partial(ask, connection), keys_in(calls[i].by_digest()))
    return replies


def ask(connection: Any, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The replies to commands, or ResponseErrors in their place."""
    return _write_and_read(connection, pieces(connection, commands), len(commands))


def _with_texts(calls: Sequence[Command]) -> Iterator[tuple[Any, ...]]:
    """Each script's text goes along once: a thousand times it would be megabytes."""
    sent: set[str] = set()
    for call in calls:
        known = call.script in sent
        sent.add(call.script)
        yield call.by_digest() if known else call.by_text()


def _write_and_read(connection: Any, text: Iterable[bytes], count: int) -> list[Any]:
    for piece in text:
        connection.send_packed_command([piece])
    return read_replies(connection, count)


def exchange(connection: Any, calls: Sequence[Command], text: Iterable[bytes] | None = None) -> list[Any]:
    """Carry calls in one round trip (two when the server has forgotten a script).

    Args:
        connection: of redis-py.
        calls: all of them, for their answers.
        text: what is still to be written of them; None: everything.

    Returns:
        For each call its reply, or the ResponseError with which the server refused it.

    Raises:
        ConnectionError: the connection broke; which calls took effect is not known.
    """
    text = by_digest(connection, calls) if text is None else text
    return settle(connection, calls, _write_and_read(connection, text, len(calls)))
