"""``runnel-trio sendmany``: files of any kind, and an exact account at every end."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from redis import Redis

from runnel_trio._embedded._server import embedded_server

GOOD = "".join(f'{{"key": "k{n % 5}", "n": {n}}}\n' for n in range(2500))


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


@pytest.fixture
def stored(server: str) -> Any:
    """The numbers that are in the stream."""

    def numbers() -> list[int]:
        with Redis.from_url(server) as redis:
            streams: Any = redis.scan_iter(_type="stream")
            logs: Any = [redis.xrange(key) for key in streams]
        return sorted(json.loads(fields[b"data"])["n"] for log in logs for _, fields in log)

    return numbers


@pytest.mark.parametrize("kind", ["plain", "gzip", "stdin", "stdin gzip", "no newline at the end", "crlf"])
async def test_every_line_is_sent(kind: str, server: str, stored: Any, command: Any, shop: Path) -> None:
    text = {"no newline at the end": GOOD.rstrip("\n"), "crlf": GOOD.replace("\n", "\r\n")}.get(kind, GOOD)
    data = gzip.compress(text.encode()) if "gzip" in kind else text.encode()
    (shop / "events").write_bytes(data)
    file, stdin = ("-", data) if "stdin" in kind else ("events", b"")
    done = command("sendmany", "shop:orders", file, stdin=stdin, RUNNEL_REDIS_URL=server)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("2,500 events sent to orders, in ")
    assert stored() == list(range(2500))


async def test_a_field_that_the_record_does_not_have_is_refused_unless_allowed(
    server: str, stored: Any, command: Any, shop: Path
) -> None:
    text = '{"key": "a", "n": 1, "keyy": "b"}'
    (shop / "events").write_text(f'{{"key": "a", "n": 0}}\n{text}\n')
    for words in (["send", "shop:orders", text], ["sendmany", "shop:orders", "events"]):
        done = command(*words, RUNNEL_REDIS_URL=server)
        assert done.returncode == 65
        assert "Order.keyy: Order has no such field; did you mean key?" in done.stderr
    assert stored() == [0]
    for words in (["send", "shop:orders", text], ["sendmany", "shop:orders", "events", "--from-line=2"]):
        assert command(*words, "--allow-unknown", RUNNEL_REDIS_URL=server).returncode == 0
    assert stored() == [0, 1, 1]


BAD = GOOD.splitlines()
BAD[1199] = '{"key": "x", "n": "many"}'
BAD[1300] = "{"


async def test_a_bad_line_stops_it_at_exactly_that_line(
    server: str, stored: Any, command: Any, shop: Path
) -> None:
    (shop / "events").write_text("\n".join(BAD))
    done = command("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert done.returncode == 65
    account, error = done.stderr.splitlines()
    assert account.startswith("1,199 events sent to orders")
    assert account.endswith("Nothing from line 1200 on was sent. To continue: --from-line 1200")
    assert error == "Error: events, line 1200: Order.n: expected int, got str 'many'"
    assert stored() == list(range(1199))
    rest = command(
        *("sendmany", "shop:orders", "events", "--from-line", "1200", "--on-error", "skip"),
        RUNNEL_REDIS_URL=server,
    )
    assert rest.returncode == 0
    assert stored() == [n for n in range(2500) if n not in {1199, 1300}]


async def test_bad_lines_can_be_skipped_and_are_told(
    server: str, stored: Any, command: Any, shop: Path
) -> None:
    (shop / "events").write_text("\n".join(BAD))
    done = command("sendmany", "shop:orders", "events", "--on-error=skip", RUNNEL_REDIS_URL=server)
    assert done.returncode == 0
    first, second, account = done.stderr.splitlines()
    assert first == "skipped line 1200: Order.n: expected int, got str 'many'"
    assert second.startswith("skipped line 1301: no JSON: ")
    assert account.startswith("2,498 events sent to orders, 2 bad lines skipped, in ")
    assert stored() == [n for n in range(2500) if n not in {1199, 1300}]


async def test_a_line_that_is_too_long_is_told_and_not_kept_in_memory(
    server: str, stored: Any, command: Any, shop: Path
) -> None:
    with gzip.open(shop / "events", "wt", compresslevel=1) as file:
        file.write(GOOD[: GOOD.index("\n") + 1])
        for _ in range(300):
            file.write("x" * (1 << 20))
        file.write("\n" + GOOD.splitlines()[1] + "\n")
    done = command("sendmany", "shop:orders", "events", "--on-error=skip", RUNNEL_REDIS_URL=server)
    assert done.returncode == 0
    assert "skipped line 2: longer than 16,777,216 bytes" in done.stderr
    assert stored() == [0, 1]


async def test_what_stands_before_a_damage_is_sent(
    server: str, stored: Any, command: Any, shop: Path
) -> None:
    packed = gzip.compress(GOOD.encode())
    (shop / "events").write_bytes(packed[: len(packed) // 2])
    done = command("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert done.returncode == 74
    account, error = done.stderr.splitlines()
    numbers = stored()
    assert numbers == list(range(len(numbers)))
    assert f"--from-line {len(numbers) + 1}" in account
    assert error.startswith("Error: reading events failed: ")


async def test_a_full_partition_says_which_lines_are_not_stored(
    server: str, command: Any, shop: Path
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(
        text.replace('partition_by="key"', 'partition_by="key", partition_size=10, overflow="error"')
    )
    (shop / "events").write_text('{"key": "a", "n": 1}\n' * 15)
    done = command("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert done.returncode == 75
    assert done.stderr.startswith("10 events sent to orders")
    assert "these are not stored: 11 to 15" in done.stderr


async def test_documents_are_checked_before_any_is_sent(server: str, stored: Any, command: Any) -> None:
    done = command("send", "shop:orders", '{"key": "a", "n": 1}', '{"key": "a"}', RUNNEL_REDIS_URL=server)
    assert done.returncode == 65
    assert done.stderr.startswith("Error: document 2: Order.n: ")
    assert done.stderr.endswith("Nothing was sent.\n")
    assert stored() == []


async def test_a_file_that_is_not_there_is_named(command: Any) -> None:
    done = command("sendmany", "shop:orders", "nowhere.jsonl")
    assert done.returncode == 2
    assert "nowhere.jsonl" in done.stderr


async def test_a_pipe_is_sent_as_it_comes_and_a_signal_ends_it_with_an_account(
    server: str, stored: Any, shop: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel_trio", "sendmany", "shop:orders", "-", "--redis-url", server],
        cwd=shop,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(GOOD[: GOOD.index("\n") + 1].encode())
    process.stdin.flush()
    with trio.fail_after(60):
        while await trio.to_thread.run_sync(stored) != [0]:
            await trio.sleep(0.02)
    process.send_signal(signal.SIGINT)
    with trio.fail_after(60):
        _, said = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 130
    assert b"1 event sent to orders" in said
    assert b"To continue: --from-line 2" in said
