"""OpenTelemetry spans: one for each send and one for each event (or list) handled, in one trace.

    app = App("shop", tracing=Tracing())

The sender's context travels with each entry, in a field that no record can have. Readers without tracing, or
with an older version, ignore it. Without tracing, nothing is added to entries, and nothing is done.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any

import attrs

from runnel_trio._broker._values import Appended, Batch, StreamSpec
from runnel_trio._event import Event
from runnel_trio._names import TRACE_FIELD
from runnel_trio._processor import Processor
from runnel_trio._report._traceback import formatted
from runnel_trio._report._words import described, summary
from runnel_trio._sending._delivery import stored_in
from runnel_trio._sending._watched import Connect, Watched, measured
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Middleware
from runnel_trio.metrics import Metrics

__all__ = ["Tracing"]  # and `watched`, for `App`


class Tracing:
    """Spans for what an app sends and handles, with ``opentelemetry-api``.

    A send is a span of kind PRODUCER. Handling an event is a span of kind CONSUMER, a child of the send's
    span. Handling a list of `Events.take` is one span with links to the sends of all its events. Spans that
    the processor function starts are children of the handling span. A failure is recorded in the span; each
    retry is a separate span.

    Args:
        tracer_provider: where spans go; by default the global one, even if that is set later.

    Raises:
        Misconfigured: the package is not installed.

    Example:
        >>> from runnel_trio import App
        >>> from runnel_trio.tracing import Tracing
        >>> app = App("example", redis_url="memory://", tracing=Tracing())
    """

    def __init__(self, tracer_provider: Any = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise Misconfigured(
                "Tracing needs the package 'opentelemetry-api', which is not installed: "
                "pip install runnel-trio[otel]"
            ) from error
        self._tracer: Any = trace.get_tracer("runnel_trio", tracer_provider=tracer_provider)

    def connected(self, connect: Connect) -> Connect:
        """For the app: like ``connect``, with a span for each send."""
        return lambda stream: _Sending(connect(stream), self._tracer)

    def around(self, processor: Processor[Any]) -> Processor[Any]:
        """For the app: the processor with one more link, the last, which makes a span for handling."""
        link = _Handling(self._tracer, processor.stream.name, processor.name)
        return attrs.evolve(processor, middleware=(*processor.middleware, link))


@attrs.define(eq=False)
class _Sending(Watched):
    """One send. Its span begins when the first entries leave."""

    _tracer: Any
    _span: Any = attrs.field(default=None, init=False)
    _mark: bytes = attrs.field(default=b"", init=False)
    _stored: int = attrs.field(default=0, init=False)

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, Appended]:
        """See `_protocol.Broker`."""
        if self._span is None:
            self._begin(stream)
        if self._mark:
            batches = {number: _marked(batch, self._mark) for number, batch in batches.items()}
        stored = await Watched.append(self, stream, batches)
        self._stored += stored_in(stored)
        return stored

    def _begin(self, stream: StreamSpec) -> None:
        from opentelemetry import propagate, trace

        self._span = self._tracer.start_span(
            f"send {stream.name}",
            kind=trace.SpanKind.PRODUCER,
            attributes=_attributes("send", stream.name),
        )
        carrier: dict[str, str] = {}
        propagate.inject(carrier, trace.set_span_in_context(self._span))
        self._mark = json.dumps(carrier, separators=(",", ":")).encode() if carrier else b""

    def ended(self, error: BaseException | None) -> None:
        """See `Watched`."""
        if self._span is not None:
            self._span.set_attribute("messaging.batch.message_count", self._stored)
            _end(self._span, error)


@attrs.frozen
class _Handling(Middleware):
    """The link next to the function, which finds the span in the context of its task."""

    tracer: Any
    stream: str
    processor: str

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        from opentelemetry import context, trace

        before, number = context.get_current(), events.partition.number
        async for item in parent:
            span = self._span(item, number)
            context.attach(trace.set_span_in_context(span, before))
            error: BaseException | None = None
            try:
                yield item
            except GeneratorExit:
                error = events.exception
                raise
            finally:
                # Not `detach`, which must run in the same context as `attach`: if a child task of the
                # function has begun an iteration, the worker's task ends it.
                context.attach(before)
                _end(span, error)

    def _span(self, item: Any, number: int) -> Any:
        from opentelemetry import context, trace

        given = [item] if isinstance(item, Event) else item if isinstance(item, list) else []
        events = [event for event in given if isinstance(event, Event)]
        senders = [sender for event in events if (sender := _sender(event)) is not None]
        attributes = {
            **_attributes("process", self.stream),
            "messaging.destination.partition.id": str(number),
            "messaging.consumer.group.name": self.processor,
        }
        links: list[Any] = []
        parent: Any = context.Context()
        if isinstance(item, Event):
            attributes["messaging.message.id"] = item.xid.decode()
            parent = senders[0] if senders else parent
        else:
            attributes["messaging.batch.message_count"] = len(events)
            spans = [trace.get_current_span(sender).get_span_context() for sender in senders]
            links = [trace.Link(x) for x in {(x.trace_id, x.span_id): x for x in spans}.values()]
        return self.tracer.start_span(
            f"process {self.stream}",
            context=parent,
            kind=trace.SpanKind.CONSUMER,
            attributes=attributes,
            links=links,
        )


def _attributes(operation: str, stream: str) -> dict[str, Any]:
    return {
        "messaging.system": "runnel",
        "messaging.operation.type": operation,
        "messaging.operation.name": operation,
        "messaging.destination.name": stream,
    }


def _end(span: Any, error: BaseException | None) -> None:
    """End a span; a cancellation is not a failure."""
    from opentelemetry import trace

    if isinstance(error, Exception):
        kind, module = type(error).__qualname__, type(error).__module__
        # The same as `record_exception` writes, but that fails for an error that cannot be described.
        facts = {
            "exception.type": kind if module in {None, "builtins"} else f"{module}.{kind}",
            "exception.message": described(error, str),
            "exception.stacktrace": formatted(error, whole=True),
            "exception.escaped": "False",
        }
        span.add_event("exception", facts)
        span.set_status(trace.Status(trace.StatusCode.ERROR, summary(error)))
    span.end()


def _marked(batch: Batch, mark: bytes) -> Batch:
    """The entries with one more field."""
    rows = zip(*[iter(batch.values)] * len(batch.names), strict=True)
    values = list(chain.from_iterable((*row, mark) for row in rows))
    return attrs.evolve(batch, names=(*batch.names, TRACE_FIELD), values=values)


#: The longest mark that is read, in bytes: marks are cached, and baggage has at most 8,192.
_LONGEST_MARK = 1 << 14


def _sender(event: Event) -> Any:
    """The sender's context; None if it is unknown."""
    fields = event._fields
    if len(fields) > 1 and fields[-2] == TRACE_FIELD:  # where it is, unless somebody else wrote the entry
        mark: bytes | None = fields[-1]
    else:
        mark = event.data.get(TRACE_FIELD)
    return _read(mark) if mark is not None and len(mark) <= _LONGEST_MARK else None


@lru_cache(maxsize=256)  # events of one send come one after the other, and reading it is half of a span
def _read(mark: bytes) -> Any:
    from opentelemetry import context, propagate

    try:
        carrier = json.loads(mark)
    except (ValueError, RecursionError):  # by somebody else
        return None
    usable = isinstance(carrier, dict) and all(isinstance(value, str) for value in carrier.values())
    return propagate.extract(carrier, context.Context()) if usable and carrier else None


def watched(connect: Connect, metrics: Metrics | None, tracing: Tracing | None) -> Connect:
    """The connections for an app's sends: ``connect`` itself, if there are no metrics and no tracing."""
    if metrics is not None:
        connect = measured(connect, metrics)
    return connect if tracing is None else tracing.connected(connect)
