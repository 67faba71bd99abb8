"""Interfaces for user code: serializers and compressors, middleware, and what it is told of failures."""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs

from runnel_trio._event import Event, Partition
from runnel_trio._rules._failure import Decision, Retry

__all__ = ["Compressor", "Failure", "Middleware", "Retry", "Serializer"]


class Compressor(abc.ABC):
    """Turns bytes into fewer bytes and back.

    Example:
        >>> import zlib
        >>> from runnel_trio.interfaces import Compressor
        >>> class Zlib(Compressor):
        ...     def compress(self, value):
        ...         return zlib.compress(value)
        ...
        ...     def decompress(self, value):
        ...         return zlib.decompress(value)
        >>> Zlib().decompress(Zlib().compress(b"a" * 50)) == b"a" * 50
        True
    """

    @abc.abstractmethod
    def compress(self, value: bytes) -> bytes:
        """The compressed form of ``value``."""

    @abc.abstractmethod
    def decompress(self, value: bytes) -> bytes:
        """The value that `compress` was given. May raise anything: it becomes a `DeserializationError`."""

    def decompress_within(self, value: bytes, limit: int) -> bytes:
        """Like `decompress`, for a value that may decompress to too much; readers call this one.

        By default it decompresses everything. Override it if a few bytes can become very many.

        Args:
            value: the stored bytes, from any sender.
            limit: the caller refuses more bytes than this, so the method may stop anywhere after it.
        """
        return self.decompress(value)


class Serializer(abc.ABC):
    """Turns a record's plain form (dicts, lists, str, int, float, bool, None) into bytes and back.

    Attributes:
        compressor: applied after `dumps` and before `loads`; None stores the bytes as they are.

    Example:
        >>> import json
        >>> from runnel_trio.interfaces import Serializer
        >>> class Pretty(Serializer):
        ...     def dumps(self, value):
        ...         return json.dumps(value, indent=2).encode()
        ...
        ...     def loads(self, value):
        ...         return json.loads(value)
        >>> Pretty().loads(Pretty().dumps({"a": 1}))
        {'a': 1}
    """

    compressor: Compressor | None = None

    def __init__(self, compressor: Compressor | None = None) -> None:
        self.compressor = compressor

    @abc.abstractmethod
    def dumps(self, value: Any) -> bytes:
        """The stored form of ``value``."""

    @abc.abstractmethod
    def loads(self, value: bytes) -> Any:
        """The plain form that `dumps` was given. May raise anything: it becomes a `DeserializationError`."""


@attrs.frozen(kw_only=True)
class Failure:
    """A failed call of a processor function, for the links that decide what happens to its events.

    Attributes:
        error: what the function, a link or the decoder raised.
        attempt: how often these events were tried, including this time.
        events: the events in hand; if a link failed, all unhandled events that it was given.
        stream: name of their stream.
        partition: the partition of the events.
    """

    error: Exception
    attempt: int
    events: Sequence[Event]
    stream: str
    partition: Partition
    _in_front: Sequence[Middleware] = attrs.field(alias="in_front", repr=False)

    def is_behind(self, link: Middleware) -> bool:
        """Whether the error was raised behind ``link``: in the function, the decoder, or a later link."""
        return any(link is other for other in self._in_front)


class Middleware:
    """A link between the source of a partition's events and the processor function.

    `handler` is an async generator: it iterates over ``parent`` and yields what it gets: events or, after
    `take`, lists of events. The code after the ``yield`` runs when the processor asks for the next item. If
    the processor failed, was cancelled or left its loop, ``GeneratorExit`` is raised at the ``yield``
    instead, and ``events.exception`` has the cause (None after a plain ``break`` or ``return``).

    The first link in a processor's list is the outermost: it gets the events first, and the ``GeneratorExit``
    last. A link that only defines `on_failure` takes no part in the chain.

    Rules of Trio: never yield inside a nursery or a cancel scope.

    Example:
        >>> from runnel_trio.interfaces import Middleware
        >>> class Printer(Middleware):
        ...     async def handler(self, parent, **kwargs):
        ...         async for x in parent:
        ...             print(x)
        ...             yield x
    """

    #: Where the link keeps failed events; None for links that keep none.
    store: Any = None
    #: Whether a processor with this link must know its events' keys, as `Retry` with ``hold="key"`` needs.
    by_key: bool = False

    def declared(self, stream: Any) -> Sequence[Any]:
        """Called when a processor of ``stream`` is declared with this link.

        Returns:
            The streams that the link writes to; they are declared to the server before the worker starts.

        Raises:
            Misconfigured: the link cannot do its work for this stream.
        """
        return ()

    def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Iterate over ``parent`` and yield each item.

        Args:
            parent: the previous link, an async iterator of `Event` or ``list[Event]``.
            events: the `Events` object of this run (``events.exception``, ``events.partition``).
            **kwargs: accept these, since more may be added.
        """
        raise TypeError(f"{type(self).__name__} must define `async def handler(self, parent, **kwargs)`")

    def on_failure(self, failure: Failure) -> Decision | None:
        """Decide what happens to the events of a failed call.

        All links of the processor are asked. If any returns a `Retry`, the events are retried; otherwise the
        first link in the list that decides is followed. If this method raises, that is logged, and counts as
        no decision.

        Args:
            failure: what failed, and with which events.

        Returns:
            `Retry`, or a member of `ExceptionPolicy`; None leaves the decision to the next link, and in the
            end to the processor's exception policy.

        Example:
            >>> from runnel_trio.constants import ExceptionPolicy
            >>> from runnel_trio.interfaces import Middleware
            >>> class SkipEmpty(Middleware):
            ...     def on_failure(self, failure):
            ...         return ExceptionPolicy.IGNORE if isinstance(failure.error, LookupError) else None
        """
        return None
