"""One trace from the sender to the handler."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from trio.testing import MockClock

from runnel_trio import App, Misconfigured, Record
from runnel_trio._broker._values import Batch
from runnel_trio._codec import JSONSerializer, RecordCodec, make_converter
from runnel_trio._names import TRACE_FIELD
from runnel_trio.metrics import Metrics
from runnel_trio.testing import drained
from runnel_trio.tracing import Tracing


class Plain(Record, primitive=True):
    key: str
    n: int = 0


class Spans:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture(params=["json", "primitive"])
def record(request: pytest.FixtureRequest, order: Any) -> Any:
    return order if request.param == "json" else Plain


def traced(spans: Spans, **more: Any) -> App:
    return App("test", redis_url="memory://", tracing=Tracing(spans.provider), **more)


async def test_handling_is_a_child_of_the_send(spans: Spans, record: Any, autojump_clock: MockClock) -> None:
    app = traced(spans, metrics=Metrics())
    stream = app.stream("orders", record, partition_by="key", partition_count=1)
    current: list[Any] = []

    @app.processor(stream)
    async def book(events: Any) -> None:
        async for x in events.records():
            current.append((x.n, trace.get_current_span().get_span_context().span_id))

    async with app.worker():
        await stream.send(record(key="a", n=1), record(key="a", n=2))
        await stream.send(record(key="a", n=3))
        await drained(book)
    sends, handled = spans.named("send orders"), spans.named("process orders")
    assert [span.attributes["messaging.batch.message_count"] for span in sends] == [2, 1]
    parents = [span.parent.span_id for span in handled]
    assert parents == [sends[0].context.span_id] * 2 + [sends[1].context.span_id]
    assert [span.context.trace_id for span in handled[::2]] == [span.context.trace_id for span in sends]
    assert current == [(n, span.context.span_id) for n, span in enumerate(handled, 1)]
    assert sends[0].kind is trace.SpanKind.PRODUCER
    assert handled[0].kind is trace.SpanKind.CONSUMER
    assert handled[0].attributes["messaging.consumer.group.name"] == "book"
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_list_has_links_to_its_senders(spans: Spans, record: Any, autojump_clock: MockClock) -> None:
    app = traced(spans)
    stream = app.stream("orders", record, partition_by="key", partition_count=1)

    @app.processor(stream)
    async def book(events: Any) -> None:
        async for _ in events.take(10, within=1):
            pass

    async with app.worker():
        await stream.send(record(key="a"), record(key="a"))
        await stream.send(record(key="a"))
        await drained(book)
    (handled,) = spans.named("process orders")
    assert handled.parent is None
    assert [link.context.span_id for link in handled.links] == [
        span.context.span_id for span in spans.named("send orders")
    ]
    assert handled.attributes["messaging.batch.message_count"] == 3


async def test_a_failure_is_in_its_span_and_a_cancellation_is_none(
    spans: Spans, record: Any, autojump_clock: MockClock
) -> None:
    app = traced(spans, default_grace_period=1)
    stream = app.stream("orders", record, partition_by="key", partition_count=1)

    @app.processor(stream, exception_policy="ignore")
    async def book(events: Any) -> None:
        async for x in events.records():
            if x.n == 1:
                raise LookupError("no such customer")
            await trio.sleep_forever()

    async with app.worker():
        await stream.send(record(key="a", n=1), record(key="a", n=2))
        await trio.sleep(1)
    failed, cancelled = spans.named("process orders")
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert failed.status.description == "LookupError: no such customer"
    assert [event.name for event in failed.events] == ["exception"]
    assert cancelled.status.status_code is trace.StatusCode.UNSET


async def test_a_send_that_fails_says_so(spans: Spans, record: Any, autojump_clock: MockClock) -> None:
    app = traced(spans, default_partition_size=1, default_overflow="error")
    stream = app.stream("orders", record, partition_by="key")
    with pytest.raises(Exception, match="full"):
        await stream.send(record(key="a"), record(key="a"))
    (span,) = spans.named("send orders")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes["messaging.batch.message_count"] == 1


async def test_who_does_not_trace_reads_what_was_traced(
    spans: Spans, record: Any, autojump_clock: MockClock
) -> None:
    sender, reader = traced(spans), App("test", redis_url="memory://")
    reader._shared = sender._shared
    sent = sender.stream("orders", record, partition_by="key")
    read = reader.stream("orders", record, partition_by="key")
    seen: list[Any] = []

    @reader.processor(read)
    async def book(events: Any) -> None:
        async for x in events.records():
            seen.append(x)

    async with reader.worker():
        await sent.send(record(key="a", n=5))
        await drained(book)
    assert seen == [record(key="a", n=5)]
    assert spans.named("process orders") == []


async def test_who_traces_reads_what_was_not(spans: Spans, record: Any, autojump_clock: MockClock) -> None:
    app = traced(spans)
    stream = app.stream("orders", record, partition_by="key")
    stream.connect = app._shared.declared

    @app.processor(stream)
    async def book(events: Any) -> None:
        async for _ in events.records():
            pass

    async with app.worker():
        await stream.send(record(key="a"))
        await drained(book)
    (handled,) = spans.named("process orders")
    assert handled.parent is None


@pytest.mark.parametrize("forbid_unknown", [False, True])
@pytest.mark.parametrize("order_of_fields", [1, -1])
def test_every_decoder_ignores_the_field(record: Any, forbid_unknown: bool, order_of_fields: int) -> None:
    codec = RecordCodec(record, JSONSerializer(), make_converter(), forbid_unknown=forbid_unknown)
    one = record(key="a", n=7)
    entry = codec.encode(one)
    pairs = [*zip(entry[::2], entry[1::2], strict=True), (TRACE_FIELD, b'{"traceparent":"x"}')]
    fields = [part for pair in pairs[::order_of_fields] for part in pair]
    assert codec.decode(fields) == one


@pytest.mark.parametrize(
    "mark",
    [
        b"", b"\xff", b"[" * 100_000, b'{"traceparent":7}', b'{"traceparent":["x"]}', b'{"traceparent":"00-x"}',
        b'{"baggage":"' + b"a=b," * 100_000 + b'"}', b"{}", b"[]", b"1",
    ],
    ids=lambda mark: repr(mark[:20]),
)  # fmt: skip
async def test_a_mark_that_somebody_else_wrote_begins_a_trace_of_its_own(
    spans: Spans, mark: bytes, autojump_clock: MockClock
) -> None:
    app = traced(spans)
    stream = app.stream("orders", Plain, partition_by="key", partition_count=1)

    @app.processor(stream)
    async def book(events: Any) -> None:
        async for x in events.records():
            assert x.key == "a"

    async with app.worker(), app._shared.used() as broker:
        for names, values in (((b"key", TRACE_FIELD), [b"a", mark]), ((TRACE_FIELD, b"key"), [mark, b"a"])):
            await broker.append(stream.spec, {0: Batch(names, values)})
        await drained(book)
    assert [span.parent for span in spans.named("process orders")] == [None, None]


async def test_without_tracing_entries_and_chains_are_what_they_were(
    order: Any, autojump_clock: MockClock
) -> None:
    app = App("test", redis_url="memory://")
    orders = app.stream("orders", order, partition_by="key")
    seen: list[Any] = []

    @app.processor(orders)
    async def book(events: Any) -> None:
        async for event in events:
            seen.append((list(event.data), len(events._links)))

    async with app.worker():
        await orders.send(order(key="a"))
        await drained(book)
    assert seen == [([b"data"], 1)]


async def test_without_a_sdk_nothing_is_added_to_entries(order: Any, autojump_clock: MockClock) -> None:
    app = App("test", redis_url="memory://", tracing=Tracing(trace.NoOpTracerProvider()))
    orders = app.stream("orders", order, partition_by="key")
    seen: list[Any] = []

    @app.processor(orders)
    async def book(events: Any) -> None:
        async for event in events:
            seen.append(list(event.data))

    async with app.worker():
        await orders.send(order(key="a"))
        await drained(book)
    assert seen == [[b"data"]]


async def test_an_iteration_in_a_child_task_leaves_no_complaint(
    spans: Spans, order: Any, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = traced(spans)
    orders = app.stream("orders", order, partition_by="key")

    @app.processor(orders)
    async def book(events: Any) -> None:
        async def one() -> None:
            async for _ in events:
                break

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one)

    async with app.worker():
        await orders.send(order(key="a"))
        await drained(book)
    assert len(spans.named("process orders")) == 1
    assert [record for record in caplog.records if record.name.startswith("opentelemetry")] == []


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(Misconfigured, match=r"pip install runnel-trio\[otel\]"):
        Tracing()
