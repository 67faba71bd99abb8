"""Retrying in place: the partition, or only the key, waits, so that order is kept."""

from __future__ import annotations

from typing import Literal

import attrs

from runnel_trio._rules._backoff import Backoff
from runnel_trio.exceptions import DeserializationError, Misconfigured, Poisoned
from runnel_trio.interfaces import Failure, Middleware, Retry

__all__ = ["RetryMiddleware"]


@attrs.frozen(kw_only=True)
class RetryMiddleware(Middleware):
    """Retries failed events, a few times with growing pauses, before anything else is decided.

    The processor function is called again and gets the same event first (after `Events.take`, the same
    events, and perhaps more); ``events.attempt`` is the number of the try. The partition waits and keeps its
    lease, so no later event overtakes. Other partitions go on. With ``hold="key"``, later events of the same
    key wait, and events of other keys go on. When the last try has failed, dead letters and
    the exception policy apply. The position in the list of middleware does not matter.

    Events that cannot be read (`DeserializationError`) or have ended processes (`Poisoned`) are not retried.

    Attributes:
        attempts: how often an event is tried in total.
        delay: seconds before the second try.
        factor: each pause is this many times as long as the one before.
        maximum: the longest pause in seconds.
        jitter: shorten each pause by up to a half, at random, so that partitions do not retry in step.
        on: the exceptions that are worth another try.
        hold: what waits between two tries. "lane": the function that has the event, which is the whole
            partition unless the processor has a ``concurrency`` above 1. "key": the event's key only.

    Example:
        >>> from runnel_trio import App, Record
        >>> from runnel_trio.middleware import RetryMiddleware
        >>> class Order(Record):
        ...     order_id: int
        >>> app = App("example")
        >>> orders = app.stream("orders", Order, partition_by="order_id")
        >>> @app.processor(orders, middleware=[RetryMiddleware(attempts=5, on=(ConnectionError,))])
        ... async def book(events):
        ...     async for order in events.records():
        ...         print(order.order_id)
    """

    attempts: int = 3
    delay: float = 0.1
    factor: float = 2.0
    maximum: float = 60.0
    jitter: bool = True
    on: tuple[type[Exception], ...] = (Exception,)
    hold: Literal["lane", "key"] = "lane"

    def __attrs_post_init__(self) -> None:
        if self.attempts < 1 or self.delay < 0 or self.factor < 1 or self.maximum < 0:
            raise Misconfigured(
                f"{self}: attempts and factor must be at least 1, delay and maximum at least 0"
            )
        if self.hold not in {"lane", "key"}:
            raise Misconfigured(f'{self}: hold must be "lane" or "key"')

    @property
    def by_key(self) -> bool:  # type: ignore[override]  # it depends on what waits
        """See `Middleware.by_key`."""
        return self.hold == "key"

    def wants(self, error: Exception, attempt: int) -> bool:
        """Whether try number ``attempt`` (from 1), which raised ``error``, is followed by another."""
        final = isinstance(error, DeserializationError | Poisoned)
        return not final and attempt < self.attempts and isinstance(error, self.on)

    def pause(self, attempt: int) -> float:
        """Seconds between try number ``attempt`` (from 1) and the next.

        Example:
            >>> [RetryMiddleware(jitter=False).pause(n) for n in (1, 2, 3)]
            [0.1, 0.2, 0.4]
        """
        backoff = Backoff(delay=self.delay, factor=self.factor, maximum=self.maximum, jitter=self.jitter)
        return backoff.pause(attempt) or 0.0

    def on_failure(self, failure: Failure) -> Retry | None:
        """See `Middleware.on_failure`."""
        if self.wants(failure.error, failure.attempt):
            return Retry(self.pause(failure.attempt), self.hold)
        return None
