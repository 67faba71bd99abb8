"""The log of ``run``: its options, and what it says of the event that was in hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TALKS = """
import logging, threading
import trio
import shop
from shop import app, orders

log = logging.getLogger("mine")

@app.processor(orders)
async def talker(events):
    log.warning("before")
    async for order in events.records():
        log.warning("seen %d", order.n)
        await trio.to_thread.run_sync(log.warning, "in a thread")

@app.timer(interval=0.05)
async def sweeper():
    log.warning("swept")
"""


def test_a_users_own_lines_say_which_event_was_in_hand(
    reads: Any, started: Any, command: Any, shop: Path
) -> None:
    (shop / "talks.py").write_text(TALKS)
    run = started("run", "talks:app", "--embedded=data", "--log-format=json", "--processors=talker")
    before = json.loads(reads(run, '.*"event": "before".*').group())
    assert "xid" not in before
    reads(run, '"running"')
    swept = json.loads(reads(run, '.*"event": "swept".*').group())
    assert (swept["function"], swept["member"].split("-")[-2]) == ("sweeper", str(run.pid))
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 7}')
    line = json.loads(reads(run, '.*"logger": "mine".*seen.*').group())
    threaded = json.loads(reads(run, ".*in a thread.*").group())
    assert line["processor"] == "talker"
    assert line["partition"] in range(4)
    assert line["member"].split("-")[-2] == str(run.pid)
    assert line["xid"].count("-") == 1
    assert {name: threaded[name] for name in ("xid", "partition")} == {
        name: line[name] for name in ("xid", "partition")
    }


def test_people_see_it_before_the_line(reads: Any, started: Any, command: Any, shop: Path) -> None:
    (shop / "talks.py").write_text(TALKS)
    run = started("run", "talks:app", "--embedded=data", "--processors=talker")
    reads(run, "WARNING mine sweeper: swept")
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 7}')
    reads(run, r"WARNING mine talker\[\d\] \d+-\d+: seen 7")


def test_the_options_win_over_the_settings(reads: Any, started: Any) -> None:
    given = {"RUNNEL_LOG_FORMAT": "json", "RUNNEL_LOG_LEVEL": "error"}
    run = started("run", "shop:app", "--embedded=data", "--log-format=console", "--log-level=debug", **given)
    reads(run, "^[0-9:.]+ DEBUG ")
    reads(run, "INFO    running app=shop")


def test_what_a_module_has_configured_stays_and_the_option_says_so(
    reads: Any, started: Any, shop: Path
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(
        f"import logging\nlogging.basicConfig(level='INFO', format='MINE %(message)s')\n{text}"
    )
    run = started("run", "shop:app", "--embedded=data", "--log-format=json")
    reads(run, "^--log-format and --log-level change nothing")
    reads(run, "^MINE running ")
