"""Workers that are scraped while one is killed and others join: their figures add up with the server's."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from flown_log import count, done
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis
from warm import Forked

Worker = Forked


@pytest.fixture
def ports() -> Iterator[Callable[[int], int]]:
    """So many ports in a row that are ours until the end; the first of them.

    Each is held by a socket that does not listen, beside which Linux lets a worker's listen (SO_REUSEADDR), but gives
    the port to nobody who asks for any.
    """
    with ExitStack() as held:

        def reserve(count: int = 1) -> int:
            while True:
                with ExitStack() as row:
                    first = held_at(row, 0)
                    with suppress(OSError):  # the next one is somebody's
                        for more in range(1, count):
                            held_at(row, first + more)
                        held.push(row.pop_all())
                        return first

        yield reserve


def held_at(stack: ExitStack, port: int) -> int:
    place = stack.enter_context(socket.socket())
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    return int(place.getsockname()[1])


def get(port: int, page: str) -> tuple[int, str]:
    """Status and text; 0 where nobody listens yet."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except (OSError, http.client.HTTPException):  # nobody there, or gone in the middle of the answer
        return 0, ""


def figure(port: int, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels."""
    status, text = get(port, "metrics")
    assert status == 200
    samples = [x for family in text_string_to_metric_families(text) for x in family.samples]
    return sum(x.value for x in samples if x.name == name and labels.items() <= x.labels.items())


def acknowledged(groups: Callable[[], list[dict[str, Any]]]) -> int:
    """What the server knows to be handled."""
    return sum(group["entries-read"] or 0 for group in groups())


async def test_figures_add_up_while_a_worker_is_killed_and_another_joins(
    total: int, log: Path, start: Any, until: Any, groups: Any, ports: Any
) -> None:
    killed_at, first_at, second_at = ports(), ports(), ports()
    killed: Worker = start("run", "flown_app:app", f"--metrics-port={killed_at}")
    await until(lambda: count(log) > total // 5)
    await until(lambda: get(killed_at, "readyz")[0] == 200)
    scraped = figure(killed_at, "runnel_events_total", outcome="processed")
    killed.kill()
    killed.wait()
    before = acknowledged(groups)
    assert 0 < scraped <= before < total, "in the middle, and nothing was told that is not so"
    both = (first_at, second_at)
    for port in both:
        start("run", "flown_app:app", f"--metrics-port={port}", FLOWN_PAUSE="0.02")
        await until(lambda port=port: get(port, "readyz")[0] == 200)
    assert not done(groups), "both have something to do"
    await until(lambda: done(groups))
    await until(lambda: sum(figure(at, "runnel_events_total") for at in both) >= total - before)
    each = [figure(at, "runnel_events_total", processor="written_down", outcome="processed") for at in both]
    assert sum(each) == total - before, "each event that was left, once"
    assert min(each) > 0
    await until(lambda: [figure(at, "runnel_owned_partitions") for at in both] == [8, 8])
    await until(lambda: sum(figure(at, "runnel_lag_events") for at in both) == 0)
    for at in both:
        assert figure(at, "runnel_rebalance_seconds_count") >= 1
        assert figure(at, "runnel_commit_events_sum") == figure(at, "runnel_events_total")
        assert figure(at, "runnel_handler_seconds_sum") > 0.001 * figure(at, "runnel_handler_seconds_count")


async def test_health_is_lost_with_the_lease_and_comes_back(
    redis: Redis, log: Path, start: Any, until: Any, ports: Any
) -> None:
    port = ports()
    worker: Worker = start("run", "flown_app:app", f"--metrics-port={port}")
    await until(lambda: get(port, "readyz") == (200, "ready\n"))
    assert get(port, "healthz") == (200, "alive\n")
    redis.client_pause(3000)
    await until(lambda: get(port, "healthz")[0] == 503)
    await until(lambda: get(port, "healthz")[0] == 200)
    worker.send_signal(signal.SIGTERM)
    await until(lambda: worker.poll() is not None)
    assert worker.returncode == 0


async def test_a_handler_that_blocks_trio_is_seen(
    server: str, log: Path, tmp_path: Path, start: Any, until: Any, ports: Any
) -> None:
    port = ports()
    start("run", "blocking_app:app", f"--metrics-port={port}")
    await until(lambda: get(port, "readyz")[0] == 200)
    sender: Worker = start("send", "blocking_app:blows", '{"key": "a", "seconds": 2.5}')
    await until(lambda: sender.poll() is not None)
    await until(lambda: get(port, "metrics")[0] and figure(port, "runnel_stalls_total") == 1)
    assert 1 < figure(port, "runnel_stall_seconds_total") < 10
    assert figure(port, "runnel_handler_seconds_sum") >= 2.4
    assert re.search(r"^runnel_server_away 0\.0$", get(port, "metrics")[1], re.MULTILINE)


async def test_workers_under_a_supervisor_have_a_port_each_and_their_successors_get_it(
    server: str, log: Path, start: Any, until: Any, ports: Any
) -> None:
    port = ports(2)
    supervisor: Worker = start("run", "flown_app:app", "--workers=2", f"--metrics-port={port}")
    for at in (port, port + 1):
        await until(lambda at=at: get(at, "readyz")[0] == 200)

    def born(at: int) -> float:
        """When the process there was started; 0 while there is none: the one before may end at any moment."""
        status, text = get(at, "metrics")
        found = re.search(r"^process_start_time_seconds (\S+)", text, re.MULTILINE)
        return float(found[1]) if status == 200 and found else 0.0

    before = {at: await trio.to_thread.run_sync(born, at) for at in (port, port + 1)}
    supervisor.send_signal(signal.SIGHUP)
    for at, then in before.items():
        await until(lambda at=at, then=then: born(at) > then and get(at, "readyz")[0] == 200)
    supervisor.send_signal(signal.SIGTERM)
    await until(lambda: supervisor.poll() is not None)
    assert supervisor.returncode == 0
