"""Networks that delay, lose, hold and cut what goes through them.

A test whose name begins with ``test_gate`` runs a row with one of the guards taken out of the scripts. It
shows that the row would notice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from fault_bench import EXPIRY, MAX_UNACKED, PARTITIONS, Bench, kinds, pause
from fault_proxy import calls

from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._values import Acquired, Batch, Commit, CommitOutcome, Output, ServerConfig

Mutate = Callable[..., None]


async def late_commit(bench: Bench) -> list[str]:
    """Row 4: a commit arrives when its sender has long repeated it, and gone on."""
    async with bench.producer() as producer, bench.app().worker():
        await producer.send(30, key="a")
        await bench.drained()
        bench.proxy.steal(calls("commit"))
        await producer.send(10, key="a")
        await bench.until(lambda: bench.proxy.stolen)
        await producer.send(10, key="a")
        await bench.drained()
        await bench.proxy.deliver()
        await producer.send(10, key="a")
        await bench.drained()
    return await bench.verdict()


async def test_a_commit_that_arrives_late_does_not_move_the_cursor_back(bench: Bench) -> None:
    assert await late_commit(bench) == []


async def test_gate_without_comparison_a_late_commit_moves_the_cursor_back(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("compare", "number")
    assert "S" in kinds(await late_commit(bench))


async def lost_commit_reply(bench: Bench, *, times: int = 3) -> list[str]:
    """Row 5: a commit is made, and nobody hears of it."""
    async with bench.producer() as producer, bench.app(work=pause(0.002)).worker():
        await producer.send(100 + 100 * times)
        for turn in range(1, times + 1):
            await bench.handled(60 * turn)
            bench.proxy.lose_reply(calls("commit"))
            await bench.until(lambda turn=turn: bench.proxy.lost == turn)
        await bench.drained()
    return await bench.verdict()


async def test_a_commit_whose_reply_is_lost_is_made_once_and_nothing_is_repeated(bench: Bench) -> None:
    assert await lost_commit_reply(bench) == []


async def test_gate_a_commit_that_is_not_known_again_makes_events_repeat(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("done")
    # Each time only if something was handled while the reply was on its way.
    assert "D" in kinds(await lost_commit_reply(bench, times=15))


async def repeated_commits(bench: Bench, *, rewind: bool = False) -> tuple[list[CommitOutcome], int]:
    """A commit that moves nothing and stores an entry elsewhere, sent twice; before the second, the cursor may be reset."""
    app = bench.app(url=bench.server.url)
    orders, spec = app.streams["orders"].spec, app.processors["note"].spec
    entry = Batch(names=(b"data",), values=(b"{}",))
    output = Output(app.stream("out", app.streams["orders"].record, partition_by="key").spec, 0, entry)
    async with open_redis(ServerConfig(bench.server.url)) as broker:
        await broker.append(orders, {0: Batch((b"data",), [b"{}"] * 2, [b"1-0", b"2-0"])})
        (granted,) = await broker.acquire(spec, "me", {0: None})
        assert isinstance(granted, Acquired)
        first = Commit(granted.lease, 1, b"0-0", b"1-0", 1, b"2-0")
        second = Commit(granted.lease, 2, b"1-0", b"1-0", 1, b"2-0", (output,))
        outcomes = [*await broker.commit(spec, [first]), *await broker.commit(spec, [second])]
        if rewind:
            await broker.rewind(spec, {0: b"0-0"}, dry_run=False)
            second = Commit(granted.lease, 3, b"1-0", b"2-0", 2, b"2-0")
        outcomes += await broker.commit(spec, [second])
        return outcomes, len(await broker.entries(output.stream, 0))


async def test_a_commit_that_is_repeated_stores_its_outputs_once(bench: Bench) -> None:
    assert await repeated_commits(bench) == ([CommitOutcome.COMMITTED] * 3, 1)


async def test_gate_without_its_number_a_repeated_commit_stores_its_outputs_twice(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("done", "number")
    assert await repeated_commits(bench) == ([CommitOutcome.COMMITTED] * 3, 2)


async def test_a_commit_does_not_overwrite_what_an_operator_has_rewound(bench: Bench) -> None:
    outcomes, _ = await repeated_commits(bench, rewind=True)
    assert outcomes[-1] is CommitOutcome.REWOUND


async def test_gate_without_comparison_a_rewind_is_overwritten(bench: Bench, mutate: Mutate) -> None:
    mutate("compare")
    outcomes, _ = await repeated_commits(bench, rewind=True)
    assert outcomes[-1] is CommitOutcome.COMMITTED


async def lost_send_reply(bench: Bench) -> list[str]:
    """Row 6: a send is stored, and its sender does not hear of it."""
    async with bench.producer(bench.proxy.url) as producer, bench.app(url=bench.server.url).worker():
        await producer.send(20, key="a")
        for _ in range(3):
            bench.proxy.lose_reply(calls("send"))
            await producer.send(10, key="a")
        await bench.drained()
    assert bench.proxy.lost == 3
    return await bench.verdict()


async def test_a_send_whose_reply_is_lost_is_stored_once_and_in_order(bench: Bench) -> None:
    assert await lost_send_reply(bench) == []


async def test_gate_a_send_that_is_not_known_again_is_stored_twice(bench: Bench, mutate: Mutate) -> None:
    mutate("once")
    assert "P" in kinds(await lost_send_reply(bench))


async def late_send(bench: Bench) -> list[str]:
    """Row 6, as row 4: a send arrives when it has been repeated, and others after it."""
    async with bench.producer(bench.proxy.url) as producer, bench.app(url=bench.server.url).worker():
        await producer.send(20, key="a")
        bench.proxy.steal(calls("send"))
        await producer.send(20, key="a")
        await bench.proxy.deliver()
        await bench.drained()
    return await bench.verdict()


async def test_a_send_that_arrives_late_stores_nothing(bench: Bench) -> None:
    assert await late_send(bench) == []


async def test_gate_a_send_that_arrives_late_is_stored_if_only_the_last_is_known(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("stale")
    assert "P" in kinds(await late_send(bench))


@pytest.mark.usefixtures("impatient")
async def test_a_send_to_a_server_that_is_frozen_for_longer_than_the_timeout_is_stored_once(
    bench: Bench,
) -> None:
    async with bench.producer() as producer, bench.app(url=bench.server.url, lock_expiry=3).worker():
        await producer.send(20)
        bench.server.freeze()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(producer.send, 20, batch=20))
            await trio.sleep(1)  # three timeouts
            bench.server.thaw()
        await bench.drained()
    assert await bench.verdict() == []


@pytest.mark.usefixtures("impatient")
async def test_an_owner_that_is_cut_off_without_a_word_stops_before_its_lease_ends(bench: Bench) -> None:
    last: list[float] = []
    expiry = 3 * EXPIRY  # so that a moment of a busy machine is a small part of it

    async def work(_: Any) -> None:
        await trio.sleep(0.01)
        last.append(trio.current_time())

    async with (
        bench.producer() as producer,
        bench.app(work=work, read_timeout=200, max_unacked=1000, lock_expiry=expiry).worker(),
    ):
        await producer.send(1600)
        await bench.handled(50)
        bench.proxy.hold()
        held = trio.current_time()
        await trio.sleep(1.5 * expiry)  # by then others may own what it owned
        assert last[-1] - held < expiry, "it stopped by its own clock"
        assert last[-1] - held > 0.3 * expiry, "and not because it had nothing to do"
        bench.proxy.cut()
        bench.proxy.release()
        await bench.drained(20)
    assert await bench.verdict(repeats=PARTITIONS) == []


async def test_a_slow_network_that_carries_single_bytes_changes_nothing_but_time(bench: Bench) -> None:
    bench.proxy.delay, bench.proxy.jitter, bench.proxy.chunk = 0.06, 0.06, 1
    async with (
        bench.producer(bench.proxy.url) as producer,
        bench.app(work=pause(0.001), lock_expiry=4).worker(),
    ):
        await producer.send(100, batch=50)
        await bench.drained(20)
        bench.proxy.delay, bench.proxy.jitter, bench.proxy.chunk = 0.0, 0.0, 65536
    assert await bench.verdict() == []


async def test_of_two_workers_one_that_is_cut_off_is_replaced_and_does_no_harm_when_it_is_back(
    bench: Bench,
) -> None:
    other = await bench.proxy_to(bench.server.port)
    one, two = bench.app("one", work=pause(0.005)), bench.app("two", other.url, work=pause(0.005))
    async with bench.producer() as producer, one.worker(), two.worker():
        await producer.send(1200)
        await bench.handled(100)
        before = bench.server.owners()
        assert len({owner for owner, _ in before.values()}) == 2
        bench.proxy.hold()
        began = trio.current_time()

        def all_are_the_others() -> bool:
            return len({owner for owner, _ in bench.server.owners().values()}) == 1

        await bench.until(all_are_the_others)
        assert trio.current_time() - began < 10 * EXPIRY
        bench.proxy.release()
        await bench.drained(20)
    assert await bench.verdict(repeats=PARTITIONS // 2 * (MAX_UNACKED + 1)) == []


@pytest.mark.parametrize("seed", range(2))
async def test_a_storm_of_resets_loses_and_repeats_nothing(seed: int, bench: Bench) -> None:
    bench.proxy.seed = seed
    async with bench.producer(bench.proxy.url) as producer, bench.app(work=pause(0.001)).worker():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(producer.send, 100_000, pause=0.01))
            with trio.fail_after(60):
                while bench.proxy.cuts <= 50 or len(producer.acked) <= 100:
                    await trio.sleep(0.05)
                    bench.proxy.cut()
            producer.enough = True
        await bench.drained()
    assert await bench.verdict() == []
