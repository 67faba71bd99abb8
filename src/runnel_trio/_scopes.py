"""Additions to Trio's scopes: bounded cleanup, and nurseries that do not wrap exceptions in a group."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import outcome
import trio

__all__ = [
    "LAST_WORDS",
    "gather",
    "helpers",
    "holds_cancellation",
    "quitting",
    "run_guarded",
    "shielded",
    "unwrapped",
]

_T = TypeVar("_T")

#: Seconds that commits and farewells get at least, however little grace user code is given.
LAST_WORDS = 1.0


@contextmanager
def shielded(seconds: float) -> Iterator[trio.CancelScope]:
    """Run cleanup that a cancellation from outside must not cut short, for at most ``seconds``.

    Without it, an ``await`` in a cancelled scope never starts. The bound does not reach into a
    thread: there the socket timeout is the bound, so both are always set.
    """
    with trio.move_on_after(seconds, shield=True) as scope:
        yield scope


@asynccontextmanager
async def helpers() -> AsyncIterator[trio.Nursery]:
    """A nursery for tasks that serve the body and end with it.

    What the body raises leaves as it is, with no exception group around it: callers catch a user's own
    error by its type. A helper that crashes is our fault, and arrives as a group.
    """
    carried: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as error:  # by value, so that the nursery has nothing to wrap
            carried = error
        nursery.cancel_scope.cancel()
    if carried is not None:
        raise carried


async def gather(tasks: Iterable[Callable[[], Awaitable[_T]]]) -> list[outcome.Outcome[_T]]:
    """Run tasks at the same time; what each returned, or the exception that it raised, in their order.

    The exceptions are values, so that the nursery wraps none of them in a group.
    """
    found: dict[int, outcome.Outcome[_T]] = {}

    async def run(i: int, task: Callable[[], Awaitable[_T]]) -> None:
        try:
            found[i] = outcome.Value(await task())
        except Exception as error:
            found[i] = outcome.Error(error)

    async with trio.open_nursery() as nursery:
        for i, task in enumerate(tasks):
            nursery.start_soon(run, i, task)
    return [found[i] for i in range(len(found))]


async def run_guarded(halt: Callable[[BaseException], None], task: Callable[[], Awaitable[None]]) -> None:
    """Run one of our own tasks; an exception that it raises is given to ``halt``, with no group around it."""
    try:
        await task()
    except Exception as error:
        halt(error)


def holds_cancellation(error: BaseException) -> bool:
    """Whether it is Trio's Cancelled, or a group with one: then it must go on to the scope that it is for."""
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(trio.Cancelled) is not None
    return isinstance(error, trio.Cancelled)


def unwrapped(error: BaseException) -> BaseException:
    """The KeyboardInterrupt or SystemExit that an error is or holds, caused by it; others as they are."""
    plain = quitting(error)
    if plain is None or plain is error:
        return error
    plain.__cause__ = error
    return plain


def quitting(error: BaseException) -> BaseException | None:
    """The KeyboardInterrupt or SystemExit that an error is or holds: its wrapping must not hide it."""
    while isinstance(error, BaseExceptionGroup):
        found = error.subgroup((KeyboardInterrupt, SystemExit))
        if found is None:
            return None
        error = found.exceptions[0]
    return error if isinstance(error, KeyboardInterrupt | SystemExit) else None
