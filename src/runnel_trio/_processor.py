"""Processors: an async function over a stream, and how it is to be run."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from runnel_trio._broker._protocol import ProcessorSpec
from runnel_trio._stream import Stream
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Middleware

__all__ = ["Processor"]


@attrs.frozen(eq=False, kw_only=True)
class Processor:
    """A processor function and its options. Made by `App.processor`.

    Attributes:
        stream: what it reads.
        function: called for each owned partition with that partition's `Events`.
        name: the name of its consumer group.
        exception_policy: what happens when it raises.
        middleware: links between the source and the function, the source's end first.
        lock_expiry: seconds after its last heartbeat that a member counts as dead.
        read_timeout: milliseconds that a read waits in the server.
        prefetch_count: events that are kept ready for each partition, at most.
        assignment_attempts: how often a partition that is still held is asked for before it is told.
        assignment_sleep: seconds between two such attempts.
        grace_period: seconds that the event in hand may take when a partition is given up.
        pool_size: connections that read, at most.
        join_delay: seconds between joining and acquiring partitions.
        max_unacked: events of each partition that a crash can repeat, at most.
        sinks: streams that its middleware writes to.
        max_attempts: how many workers may die over an event before the policy applies to it.
    """

    stream: Stream[Any]
    function: Callable[[Any], Awaitable[None]]
    name: str
    exception_policy: ExceptionPolicy
    middleware: Sequence[Middleware]
    lock_expiry: float
    read_timeout: int
    prefetch_count: int
    assignment_attempts: int
    assignment_sleep: float
    grace_period: float
    pool_size: int
    join_delay: float
    max_unacked: int
    max_attempts: int
    sinks: list[Stream[Any]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        if not inspect.iscoroutinefunction(self.function):
            raise Misconfigured(
                f"processor {self.name!r} must be an async function: `async def {self.name}(events):`"
            )
        for link in self.middleware:
            if not isinstance(link, Middleware):
                raise Misconfigured(f"processor {self.name!r}: {link!r} is no Middleware")
            self.sinks.extend(link.declared(self.stream))

    @property
    def spec(self) -> ProcessorSpec:
        """What the broker knows of it."""
        return ProcessorSpec(stream=self.stream.spec, name=self.name)

    def __repr__(self) -> str:
        return f"<Processor {self.stream.spec.app}.{self.stream.name}/{self.name}>"
