"""Commands at a terminal: the bar, and Ctrl-C as it is typed."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runnel_trio._embedded._server import embedded_server

LINES = "".join(f'{{"key": "k{n % 5}", "n": {n}}}\n' for n in range(2500))


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


def screen(shown: str) -> list[str]:
    """The lines that stay."""
    return [re.sub(r"^.*\r\x1b\[K", "", line.rstrip("\r")) for line in shown.split("\n")]


async def test_a_bar_shows_how_far_it_is_and_leaves_nothing_behind(
    server: str, terminal: Any, shop: Path
) -> None:
    (shop / "events").write_text(LINES * 20)
    sending = terminal("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert re.search(r"\d\d% #+-* [\d,]+ events, [\d,]+/s", sending.shows(r" \d\d% .* events, .*/s"))
    code, shown = sending.ends()
    assert code == 0
    (account, nothing) = screen(shown)
    assert account.startswith("50,000 events sent to orders, in ")
    assert nothing == ""
    assert max(len(drawn) for drawn in shown.split("\r\x1b[K")) <= 80


async def test_nothing_is_drawn_where_there_is_no_terminal(server: str, command: Any, shop: Path) -> None:
    (shop / "events").write_text(LINES)
    done = command("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert "\x1b" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


async def test_ctrl_c_ends_sendmany_with_an_account(server: str, terminal: Any, shop: Path) -> None:
    (shop / "events").write_text(LINES * 100)
    sending = terminal("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    sending.shows(r"[1-9]% ")
    sending.types("\x03")
    code, shown = sending.ends()
    assert code == 130
    told, *folded, nothing = screen(shown)
    account = " ".join(folded)
    assert told.endswith("SIGINT: ending after this batch; once more to stop at once")
    sent, following = re.fullmatch(
        r"([\d,]+) events sent to orders, in .*\. Nothing from line (\d+) on was sent\. "
        r"To continue: --from-line (?:\d+)",
        account,
    ).groups()  # type: ignore[union-attr]  # the assertion is that it matches
    assert int(sent.replace(",", "")) == int(following) - 1
    assert nothing == ""


async def test_a_stream_without_room_is_told_below_the_bar(server: str, terminal: Any, shop: Path) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace('by="key"', 'by="key", partition_size=10'))
    (shop / "events").write_text('{"key": "a", "n": 1}\n' * 15)
    sending = terminal("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    shown = sending.shows(r"WARNING stream-full stream=orders .*\r\n")
    assert re.search(r"\r\x1b\[K\S+ WARNING stream-full", shown)
    sending.shows(", waiting")
    sending.types("\x03")
    sending.shows("once more to stop at once")
    # Once more is not needed: it will not wait for room for ever.
    code, shown = sending.ends()
    assert code == 130
    account = " ".join(shown.split())
    assert "Of lines 1 to 15, any may be stored or not" in account
    assert "To continue: --from-line 1, which sends twice what is stored of these." in account


def test_an_error_is_folded_between_words_and_what_is_to_be_copied_stays_whole(
    terminal: Any, command: Any
) -> None:
    asked = ("send", "shop:orders", '{"key": "a", "n": 1}', "--redis-url=redis://127.0.0.1:1")
    code, shown = terminal(*asked).ends()
    *lines, nothing = screen(shown)
    assert (code, nothing) == (3, "")
    assert max(map(len, lines)) <= 80
    assert any("`docker run -p 6379:6379 valkey/valkey`" in line for line in lines)
    assert [" ".join(lines)] == command(*asked).stderr.splitlines(), "one line, where there is no terminal"


def test_ctrl_c_stops_a_worker_gracefully(terminal: Any, command: Any) -> None:
    worker = terminal("run", "shop:app", "--embedded=data", "--processors=printer")
    worker.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "slow", "n": 1}')
    worker.shows("begin 1")
    worker.types("\x03")
    assert "end 1" in worker.shows("stopped")
    assert worker.ends()[0] == 0


def test_ctrl_c_twice_stops_it_at_once(terminal: Any, command: Any) -> None:
    worker = terminal("run", "shop:app", "--embedded=data")
    worker.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "stuck", "n": 1}')
    worker.shows("begin 1")
    worker.types("\x03")
    worker.shows("SIGINT: stopping gracefully; once more to stop at once")
    worker.types("\x03")
    code, shown = worker.ends()
    assert code == 130, shown


def test_ctrl_c_again_and_again_ends_even_what_blocks_trio(terminal: Any, command: Any) -> None:
    worker = terminal("run", "shop:app", "--embedded=data")
    worker.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "blocked", "n": 1}')
    worker.shows("begin 1")
    worker.types_until_it_ends("\x03")
    code, shown = worker.ends()
    assert code == -signal.SIGINT, shown
