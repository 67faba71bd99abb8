"""Keys of ours in which somebody else keeps something: whoever looks is told, and sees all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import redis
from hostile_keys import BILL, SPEC, keys_of

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._seen import Ending
from runnel_trio._broker._values import Acquired, Batch, Beat, ServerConfig
from runnel_trio._operate._health import Weight, state, troubles
from runnel_trio._operate._overview import overview
from runnel_trio.exceptions import BrokerRefused

#: Type, by key of partition 0, of the processor, and of the app; but for what a stream is known by.
KINDS = {
    key: "stream"
    if key.endswith((":log", ":control")) or ":outbox:" in key
    else "string"
    if ":quarantine:" in key
    else "hash"
    for key in keys_of("shop", "orders", "bill", 0)
    if not key.endswith(":meta")
} | {_keys.endings("shop"): "string"}


@pytest.fixture
def admin(server: str) -> Iterator[Any]:
    with redis.Redis.from_url(server, protocol=2) as client:
        client.flushall()
        yield client


async def at_work(broker: Broker) -> None:
    """Two partitions have events, and a worker owns them."""
    await broker.declare(SPEC)
    await broker.append(SPEC, {number: Batch((b"data",), [b"x"]) for number in (0, 1)})
    await broker.beat(Beat(party=BILL, member="w", expiry=600, about="{}"))
    assert all(isinstance(x, Acquired) for x in await broker.acquire(BILL, "w", {0: None, 1: None}))
    await broker.ended("shop", Ending(error="ValueError: no"))


@pytest.mark.parametrize("key", KINDS)
async def test_a_key_of_another_type_is_named_and_the_rest_is_shown(
    key: str, server: str, admin: Any
) -> None:
    async with open_redis(ServerConfig(server)) as broker:
        await at_work(broker)
        assert not (await overview(broker, "shop", [BILL])).misfits
        admin.delete(key)
        admin.rpush(key, "x")
        view = await overview(broker, "shop", [BILL])
    (found,) = [x for x in troubles(view) if x.kind == "misfit"]
    assert found.line.startswith(f"{key}: is a list, and must be a {KINDS[key]}")
    assert state([found]) is Weight.STANDING
    (processor,) = view.processors
    assert attrs.evolve(processor.partitions[1], age=0.0, cursor="").lag == 1


async def test_a_stream_that_is_known_by_nothing_is_named_in_the_error(server: str, admin: Any) -> None:
    async with open_redis(ServerConfig(server)) as broker:
        await at_work(broker)
        admin.delete(_keys.meta(SPEC))
        admin.set(_keys.meta(SPEC), "x")
        with pytest.raises(
            BrokerRefused, match=r"runnel:\{shop\}:orders:meta is a string, and must be a hash"
        ):
            await overview(broker, "shop", [BILL])


async def test_a_record_of_ends_that_is_somebody_elses_is_left_alone(server: str, admin: Any) -> None:
    key = _keys.endings("shop")
    async with open_redis(ServerConfig(server)) as broker:
        admin.rpush(key, "x")
        with pytest.raises(BrokerRefused, match="WRONGTYPE"):
            await broker.ended("shop", Ending(error="ValueError: no"))
        assert admin.lrange(key, 0, -1) == [b"x"]
        admin.delete(key)
        await broker.ended("shop", Ending(error="ValueError: no"))
        assert 0 < admin.ttl(key) <= 3600, "it goes by itself"
