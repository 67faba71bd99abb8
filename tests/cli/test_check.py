"""``runnel-trio run --check``: each thing that is wrong, with its code and its remedy; and nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from runnel_trio._embedded._server import embedded_server


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


async def test_what_is_fine_is_told_and_nothing_is_changed(server: str, command: Any) -> None:
    done = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server)
    assert (done.returncode, done.stderr) == (0, "")
    module, there, stream = done.stdout.splitlines()
    assert module.startswith("ok     shop:app can be imported")
    assert "2 of 2 processors" in module
    assert "maxmemory-policy noeviction" in there
    assert "password" not in there or "***" in there
    assert stream.startswith("note   stream orders is not on the server")
    with Redis.from_url(server) as redis:
        assert redis.dbsize() == 0
    command("send", "shop:orders", '{"key": "a", "n": 1}', RUNNEL_REDIS_URL=server)
    again = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server)
    assert again.stdout.splitlines()[2] == "ok     stream orders is declared as on the server: 4 partitions"
    with Redis.from_url(server) as redis:
        assert not [key for key in redis.scan_iter() if b"lease" in key or b"members" in key]


async def test_a_stream_that_is_otherwise_on_the_server_is_wrong(
    server: str, command: Any, shop: Path
) -> None:
    command("send", "shop:orders", '{"key": "a", "n": 1}', RUNNEL_REDIS_URL=server)
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace('by="key"', 'by="key", partition_count=8, partition_size=7'))
    done = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server)
    assert done.returncode == 78
    assert "wrong  stream orders has partition_count=4 on the server, and 8 here: keep 4, or " in done.stdout
    assert "note   stream orders had partition_size=50000: 7 will hold from the start on" in done.stdout


async def test_a_server_that_evicts_is_wrong(server: str, command: Any) -> None:
    with Redis.from_url(server) as redis:
        redis.config_set("maxmemory-policy", "allkeys-lru")
    done = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server)
    assert done.returncode == 78
    assert "wrong  " in done.stdout
    assert "set it to noeviction" in done.stdout


async def test_a_server_that_lets_nobody_in_is_wrong(server: str, command: Any) -> None:
    done = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server.partition("?")[0] + "?password=no")
    assert done.returncode == 77
    assert "Check user, password and permissions" in done.stdout


def test_no_server_is_wrong(command: Any) -> None:
    done = command("run", "shop:app", "--check", "--redis-url=redis://127.0.0.1:1")
    assert done.returncode == 3
    assert done.stdout.splitlines()[0].startswith("ok ")
    assert "--embedded" in done.stdout.splitlines()[1]


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "said"),
    [
        (["nowhere:app"], {}, 2, "there is no module 'nowhere'"),
        (["shop:apps"], {}, 2, "shop has no 'apps'"),
        (["shop:app", "--processors=loud"], {}, 2, "There are: printer, quiet"),
        (["shop:app"], {"RUNNEL_DEFAULT_LOCK_EXPIRY": "soon"}, 78, "RUNNEL_DEFAULT_LOCK_EXPIRY"),
        (["empty:app"], {}, 78, "declare a processor"),
    ],
)
def test_what_is_wrong_before_there_is_a_server(
    arguments: list[str], changes: Any, code: int, said: str, command: Any, shop: Path
) -> None:
    (shop / "empty.py").write_text("from runnel_trio import App\napp = App('empty', redis_url='memory://')\n")
    done = command("run", *arguments, "--check", **changes)
    assert done.returncode == code
    (line,) = [x for x in done.stdout.splitlines() if x.startswith("wrong  ")]
    assert said in line
    assert "Traceback" not in done.stderr


def test_a_module_that_raises_shows_its_line(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text("1 / 0\n")
    done = command("run", "bad:app", "--check")
    assert done.returncode == 2
    assert "bad.py" in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_a_misspelt_variable_is_a_note(command: Any) -> None:
    done = command("run", "shop:app", "--check", "--embedded", RUNNEL_LOG_LEVL="debug")
    assert done.returncode == 0
    assert "note   the variable RUNNEL_LOG_LEVL is not a setting: did you mean" in done.stdout


async def test_a_key_of_another_type_is_wrong(server: str, command: Any) -> None:
    command("send", "shop:orders", '{"key": "a", "n": 1}', RUNNEL_REDIS_URL=server)
    with Redis.from_url(server) as redis:
        (log,) = redis.scan_iter("*:log")
        redis.delete(log)
        redis.set(log, "x")
    done = command("run", "shop:app", "--check", RUNNEL_REDIS_URL=server)
    assert done.returncode == 77
    assert (
        f"wrong  {log.decode()}: is a string, and must be a stream: somebody else has written" in done.stdout
    )
