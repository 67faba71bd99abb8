"""JSON documents for programs: of an app, a stream, an event, a dead letter and a parked key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs

from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import StreamSpec
from runnel_trio._event import Event
from runnel_trio._operate._health import Trouble, Weight, state
from runnel_trio._operate._letters import Dead, Letter
from runnel_trio._operate._overview import Overview
from runnel_trio._operate._parked import Parked
from runnel_trio._operate._rates import Rates
from runnel_trio._rules._cursor import parse_id
from runnel_trio._stream import Stream

__all__ = [
    "fields_of",
    "key_name",
    "of_event",
    "of_letter",
    "of_overview",
    "of_parked",
    "of_stream",
    "time_of",
]

_STATES = {Weight.NOTE: "well", Weight.BEHIND: "behind", Weight.STANDING: "standing"}
_WEIGHTS = {**_STATES, Weight.NOTE: "note"}
#: Milliseconds since 1970: the end of the year 9999.
_LAST_TIME = 253_402_300_799_999


def of_overview(view: Overview, before: Overview | None, found: Sequence[Trouble]) -> dict[str, Any]:
    """An app: what there is, what is not well, and rates where there was an earlier look."""

    def plain(_: type[Any], __: Any, value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else getattr(value, "value", value)

    document = attrs.asdict(view, value_serializer=plain)
    rates = Rates(before, view)
    for processor, shown in zip(view.processors, document["processors"], strict=True):
        names = ("lag", "age", "owned", "ahead", "parked_keys", "parked")
        shown |= {name: getattr(processor, name) for name in names}
        shown["rate"] = rates.acknowledged(processor)
    document["state"] = _STATES[state(found)]
    document["troubles"] = [attrs.asdict(x) | {"weight": _WEIGHTS[x.weight]} for x in found]
    for weight in (Weight.STANDING, Weight.BEHIND):
        document[_STATES[weight]] = [x.line for x in found if x.weight is weight]
    return document


def of_stream(stream: Stream[Any], surveyed: Mapping[StreamSpec, Sequence[Surveyed]]) -> dict[str, Any]:
    """A stream and its partitions; the current layout is the last one."""
    *former, spec = surveyed
    return {
        "app": spec.app,
        "stream": spec.name,
        "record": spec.record,
        "partition_by": key_name(stream),
        "partition_size": spec.partition_size,
        "overflow": spec.overflow.value,
        "layout": spec.layout,
        "partitions": list(map(_partition, surveyed[spec])),
        "former_partitions": [_partition(x) for layout in former for x in surveyed[layout]],
    }


def _partition(x: Surveyed) -> dict[str, Any]:
    return {
        "number": x.number,
        "length": x.length,
        "entries_added": x.entries_added,
        "last_id": x.last_id.decode(),
        "bytes": x.size,
        "lag": {name: y.lag for name, y in x.processors.items()},
    }


def key_name(stream: Stream[Any]) -> str:
    """By what a stream is partitioned."""
    by = stream.partition_by
    return by if isinstance(by, str) else getattr(by, "__name__", "a function")


def of_event(event: Event, content: Mapping[str, Any], fault: str = "") -> dict[str, Any]:
    """A stored event.

    Args:
        event: which one.
        content: its ``record`` in plain form, or `fields_of` it.
        fault: why it cannot be read; empty where it can.
    """
    layout, when = event.partition.layout, time_of(event)
    return {
        "partition": event.partition.number,
        "xid": event.xid.decode(),
        "time": when.isoformat(timespec="milliseconds"),
        **({} if layout == 1 else {"layout": layout}),
        **content,
        **({"error": fault} if fault else {}),
    }


def fields_of(event: Event) -> dict[str, dict[str, str]]:
    """The fields of an event as they are stored."""
    return {"fields": {_text(name): _text(value) for name, value in event.data.items()}}


def time_of(event: Event) -> datetime:
    """When an event was stored, by its id; one of a sender's own may be of no year that there is."""
    return datetime.fromtimestamp(min(parse_id(event.xid)[0], _LAST_TIME) / 1000, UTC)


def of_letter(letter: Letter) -> dict[str, Any]:
    """A dead letter, with all that is known of it."""
    found: dict[str, Any] = {"id": letter.id}
    record = letter.record
    if isinstance(record, Dead):
        names = ("stream", "partition", "xid", "error", "traceback")
        found |= {name: getattr(record, name) for name in names}
        found["time"] = record.time.isoformat()
        found["data"] = {name: _text(value) for name, value in record.data.items()}
    else:
        found["data"] = letter.data
    return found


def of_parked(parked: Parked) -> dict[str, Any]:
    """A parked key, with all that is known of it but its events."""
    names = ("partition", "key", "events", "attempts", "error", "traceback", "reason", "by")
    found = {name: getattr(parked, name) for name in names}
    found["since"] = parked.since.isoformat(timespec="milliseconds")
    found["next"] = None if parked.next is None else parked.next.isoformat(timespec="milliseconds")
    return found


def _text(value: bytes) -> str:
    return value.decode(errors="backslashreplace")
