"""The log of ``run``: its options, and what it says of the event that was in hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

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


def configured(shop: Path, text: str) -> None:
    """Have the app's module begin with this, after the library was imported."""
    before = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(f"import logging, logging.config, io\nimport runnel_trio\n{text}\n{before}")


def dictionary(rest: str) -> str:
    handlers = "'handlers': {'c': {'class': 'logging.StreamHandler', 'formatter': 'f'}}"
    formatters = "'formatters': {'f': {'format': 'MINE %(levelname)s %(message)s'}}"
    return f"logging.config.dictConfig({{'version': 1, {formatters}, {handlers}, {rest}}})"


FILE = """
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root
[handlers]
keys=c
[formatters]
keys=f
[logger_root]
level=INFO
handlers=c
[handler_c]
class=StreamHandler
formatter=f
args=()
[formatter_f]
format=MINE %(levelname)s %(message)s
'''))
"""
ROOT = dictionary("'root': {'level': 'INFO', 'handlers': ['c']}")
#: What a module does, and what the first line of a worker then looks like.
SHOWN = {
    "dictConfig": (ROOT, "^MINE INFO joined"),
    "fileConfig": (FILE, "^MINE INFO joined"),
    "dictConfig of no handler": ("logging.config.dictConfig({'version': 1})", r"^[\d:.]+ INFO    joined"),
    "a NullHandler of the root": ("logging.getLogger().addHandler(logging.NullHandler())", "INFO    joined"),
    "a handler of ours alone": (
        dictionary("'loggers': {'runnel_trio': {'level': 'INFO', 'handlers': ['c'], 'propagate': False}}"),
        "^MINE INFO joined",
    ),
}


@pytest.mark.parametrize(
    ("how", "log_format"),
    [*((how, "console") for how in SHOWN), ("dictConfig of no handler", "json"), ("dictConfig", "json")],
)
def test_however_a_module_configures_logging_what_a_worker_tells_is_shown(
    how: str, log_format: str, reads: Any, started: Any, shop: Path
) -> None:
    text, pattern = SHOWN[how]
    configured(shop, text)
    run = started("run", "shop:app", RUNNEL_REDIS_URL="memory://", RUNNEL_LOG_FORMAT=log_format)
    reads(run, pattern if log_format == "console" or "MINE" in pattern else '"event": "joined"')
    run.terminate()
    rest = run.communicate()[1]
    assert "shows more" not in rest
    assert rest.count("stopped member=") + rest.count('"event": "stopped"') == 1


@pytest.mark.parametrize("how", ["dictConfig", "fileConfig", "dictConfig of no handler"])
def test_a_worker_goes_on_to_tell_when_logging_is_configured_while_it_runs(
    how: str, reads: Any, started: Any, shop: Path
) -> None:
    with (shop / "shop.py").open("a") as module:
        text = SHOWN[how][0].replace("\n", "\n    ")
        body = f"import io, logging, logging.config\n    {text}\n    print('configured', flush=True)"
        module.write(f"\n@app.task\nasync def setup():\n    {body}\n    await trio.sleep_forever()\n")
    run = started("run", "shop:app", RUNNEL_REDIS_URL="memory://")
    assert run.stdout.readline() == "configured\n"
    run.terminate()
    assert re.search("stopped member=", run.communicate()[1])


#: What a module does that leaves lines out, and what is said of it.
LEFT_OUT = {
    "a root from warning on": (
        dictionary("'root': {'handlers': ['c']}"),
        "shown from WARNING on: logging.getLogger('runnel_trio').setLevel('INFO') shows more",
    ),
    "a handler from error on": (
        ROOT + "; logging.getLogger().handlers[0].setLevel('ERROR')",
        "shown from ERROR on: a handler of level INFO shows more",
    ),
    "a dead end": (
        ROOT + "; logging.getLogger('runnel_trio').propagate = False",
        "give the logger 'runnel_trio' a handler, or let it propagate",
    ),
    "a dead end without a handler": (
        "logging.getLogger('runnel_trio').propagate = False",
        "give the logger 'runnel_trio' a handler, or let it propagate",
    ),
    "logging.disable": ("logging.disable(logging.ERROR)", "logging.disable(ERROR)"),
}


@pytest.mark.parametrize("how", LEFT_OUT)
def test_where_a_module_leaves_lines_out_run_says_so_once_and_how_to_have_them(
    how: str, reads: Any, started: Any, shop: Path
) -> None:
    text, said = LEFT_OUT[how]
    configured(shop, text)
    run = started("run", "shop:app", "--workers=2", "--embedded=data")
    reads(run, re.escape(said))
    reads(run, "supervising")
    run.terminate()
    assert said not in run.communicate()[1]


def test_a_level_that_is_given_to_our_logger_by_name_is_a_wish(reads: Any, started: Any, shop: Path) -> None:
    configured(shop, ROOT + "; logging.getLogger('runnel_trio').setLevel('WARNING')")
    with (shop / "shop.py").open("a") as module:
        module.write(
            "\n@app.task\nasync def setup():\n    print('up', flush=True)\n    await trio.sleep_forever()\n"
        )
    run = started("run", "shop:app", RUNNEL_REDIS_URL="memory://")
    assert run.stdout.readline() == "up\n"
    run.terminate()
    assert run.communicate()[1] == ""


def test_the_error_that_ends_a_worker_is_told_to_machines_whatever_is_disabled(
    command: Any, shop: Path
) -> None:
    configured(shop, "logging.disable(logging.CRITICAL); logging.getLogger('runnel_trio').propagate = False")
    done = command("run", "shop:app", "--log-format=json", RUNNEL_REDIS_URL="redis://127.0.0.1:1")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert done.returncode == 3
    assert lines[-1]["level"] == "critical"
    assert lines[-1]["event"].startswith("no server at redis://127.0.0.1:1")


def test_a_command_that_runs_no_worker_says_nothing_of_it(command: Any, shop: Path) -> None:
    configured(shop, dictionary("'root': {'handlers': ['c']}"))
    done = command("send", "shop:orders", '{"key": "a", "n": 1}', "--embedded=data")
    assert done.stderr == "Sent 1 event to orders.\n"
