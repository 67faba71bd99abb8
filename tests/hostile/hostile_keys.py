"""Every key of an app, by the names that it is made of."""

from __future__ import annotations

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._values import AppSpec, Party, ProcessorSpec, StreamSpec
from runnel_trio.constants import Overflow


def stream_of(app: str, name: str) -> StreamSpec:
    return StreamSpec(
        app=app, name=name, partition_count=2, record="Order", hasher="blake3", partition_size=9, overflow=Overflow.BLOCK
    )  # fmt: skip


def keys_of(app: str, stream: str, processor: str, number: int) -> dict[str, str]:
    """Every key that is made of these names, and what it must look like."""
    spec = stream_of(app, stream)
    own = ProcessorSpec(stream=spec, name=processor)
    place, party = f"runnel:{{{app}:{number}}}:{stream}", f"runnel:{{{app}/{stream}/{processor}}}"
    made: dict[str, str] = {
        _keys.log(spec, number): f"{place}:log",
        _keys.producers(spec, number): f"{place}:producers",
        _keys.lease(own, number): f"{place}:lease:{processor}",
        _keys.quarantine(own, number): f"{place}:quarantine:{processor}",
        _keys.parked_keys(own, number): f"{place}:keys:{processor}",
        _keys.outbox(own, number): f"{place}:outbox:{processor}",
        _keys.parked(own, number): f"{place}:parked:{processor}",
        _keys.meta(spec): f"runnel:{{{app}}}:{stream}:meta",
        _keys.endings(app): f"runnel:{{{app}}}:endings",
    }
    parties: list[tuple[Party, str]] = [(own, party), (AppSpec(app), f"runnel:{{{app}}}:leader")]
    for who, base in parties:
        made |= {
            _keys.members(who): f"{base}:members",
            _keys.plan(who): f"{base}:assignment",
            _keys.control(who): f"{base}:control",
        }
    return made


SPEC = stream_of("shop", "orders")
BILL = ProcessorSpec(stream=SPEC, name="bill")
