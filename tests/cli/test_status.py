"""`status`: what stands still, since when, what to type; and exit codes for probes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from depot_views import MODULE, Item

from runnel_trio import App, ExceptionPolicy
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.testing import drained

Status = Callable[..., Any]


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "depot.py").write_text(MODULE)
    return f"embedded://{tmp_path / 'data'}"


@pytest.fixture
def status(url: str, command: Callable[..., Any]) -> Status:
    """Run it with the app at hand."""

    def run(*arguments: str, target: str = "depot:app", over: str = "0") -> Any:
        given = [target] if target else []
        return command("status", *given, "--redis-url", url, "--over", over, *arguments)

    return run


async def handled(
    url: str, keys: str, *, fail_on: int = -1, policy: str = "quarantine", dead: bool = False
) -> None:
    """A worker handles events, and may stand still at one."""
    app = App("depot", default_partition_count=4, redis_url=url)
    items = app.stream("items", Item, partition_by="key")
    middleware = [DeadLetterMiddleware(app.stream("lost", Dead, "xid"))] if dead else []

    @app.processor(items, exception_policy=ExceptionPolicy(policy), middleware=middleware)
    async def count(events: Any) -> None:
        async for item in events.records():
            if item.n == fail_on:
                raise ValueError(f"no item {item.n}")

    async with app.worker(), app.operator() as op:
        await items.send(*(Item(key=key, n=n) for key in keys for n in range(3)))
        if fail_on >= 0 and not dead:
            with trio.fail_after(60):
                while not await op.quarantined("count"):
                    await trio.sleep(0.01)
        else:
            await drained(app, within=60)


def test_an_app_that_has_nothing_behind_is_well(url: str, status: Status) -> None:
    trio.run(handled, url, "ab")
    done = status("--app", "depot", target="")
    assert done.returncode == 0, done.stderr
    assert "All is well." in done.stdout
    assert re.search(r"items +6 ", done.stdout)
    assert re.search(r"items/count +0 ", done.stdout)
    assert "nobody runs it" in done.stdout


def test_what_no_worker_has_begun_with_stands_still(url: str, status: Status) -> None:
    trio.run(handled, url, "ab")
    done = status()
    assert done.returncode == 2, done.stdout
    assert re.search(r"items/never_run +6 ", done.stdout)
    told = "items/never_run: no worker runs, and events wait in 2 partitions "
    assert told in done.stdout.splitlines()[-2]
    assert done.stdout.splitlines()[-1] == "  Start one."


def test_a_quarantine_is_found_with_its_remedy(url: str, status: Status) -> None:
    async def work() -> None:
        await handled(url, "a", fail_on=1)

    trio.run(work)
    done = status()
    assert done.returncode == 2
    (line,) = [line for line in done.stdout.splitlines() if "stands still for" in line]
    number = re.search(r"\[(\d)\]", line)
    assert number is not None
    assert "ValueError: no item 1" in line
    assert (
        f"runnel-trio processor resume depot:count --partition {number[1]} --redis-url embedded"
        in done.stdout
    )
    assert "2 behind; on " in done.stdout
    to_type = [line for line in done.stdout.splitlines() if "runnel-trio" in line]
    assert len(to_type) == 1
    assert max(len(line) for line in done.stdout.splitlines() if line not in to_type) <= 80


def test_it_is_for_programs_too(url: str, status: Status) -> None:
    async def work() -> None:
        await handled(url, "a", fail_on=1)

    trio.run(work)
    done = status("--json", over="0.1")
    found = json.loads(done.stdout)
    assert done.returncode == 2
    assert found["state"] == "standing"
    count = next(x for x in found["processors"] if x["name"] == "count")
    assert (count["lag"], count["rate"]) == (2, 0.0)
    assert count["age"] > 0
    (still,) = [x for x in count["partitions"] if x["quarantine"]]
    assert still["quarantine"]["error"] == "ValueError: no item 1"
    assert still["cursor"] != "0-0"
    assert found["streams"][0]["spec"]["partition_size"] == 50_000
    assert found["streams"][0]["room"] == 4 * 50_000 - 3


def test_dead_letters_are_counted(url: str, status: Status) -> None:
    async def work() -> None:
        await handled(url, "a", fail_on=1, dead=True)

    trio.run(work)
    done = status("--app", "depot", target="")
    assert done.returncode == 0
    assert re.search(r"lost \(dead letters\) +1 ", done.stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["--max-lag", "5"], 1, r"items/count: 6 events behind, more than 5"),
        (["--max-lag", "6"], 0, "All is well"),
        (["--max-age", "0"], 1, r"items/count: the oldest event waits for [\d.]+ s, more than 0"),
        (["--max-age", "3600"], 0, "All is well"),
    ],
)
def test_what_is_behind_is_judged_by_what_is_allowed(
    arguments: list[str], code: int, line: str, url: str, status: Status
) -> None:
    async def stuck() -> None:
        app = App("depot", default_partition_count=4, redis_url=url)
        items = app.stream("items", Item, partition_by="key")

        @app.processor(items)
        async def count(events: Any) -> None:
            async for _ in events.records():
                await trio.sleep_forever()

        async with app.worker() as worker:
            await items.send(*(Item(key=key, n=n) for key in "ab" for n in range(3)))
            done = await trio.to_thread.run_sync(lambda: status("--app", "depot", *arguments, target=""))
            worker.abort()
        assert done.returncode == code, done.stdout
        assert re.search(line, done.stdout)
        assert re.search(r"4 partitions  6 behind", done.stdout)

    trio.run(stuck)


def test_a_server_that_is_not_there_is_unreachable(command: Callable[..., Any]) -> None:
    done = command("status", "--app", "depot", "--redis-url", "redis://127.0.0.1:1")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr


def test_an_app_that_is_not_known_says_so(url: str, command: Callable[..., Any]) -> None:
    done = command("status", "--app", "nowhere", "--redis-url", url, "--over", "0")
    assert done.returncode == 2
    assert "knows no stream of app 'nowhere'" in done.stdout


def test_events_on_which_nobody_has_worked_are_not_well_and_have_their_age(
    url: str, command: Callable[..., Any]
) -> None:
    async def send() -> None:
        app = App("depot", default_partition_count=4, redis_url=url)
        async with app.session():
            await app.stream("items", Item, "key").send(Item(key="a", n=1), stream_ids=["1000-0"])

    trio.run(send)
    done = command("status", "--app", "depot", "--redis-url", url, "--over", "0")
    assert done.returncode == 2
    assert "no processor has ever worked on what is stored" in done.stdout
    done = command("status", "depot:app", "--redis-url", url, "--over", "0", "--json")
    ages = [x["age"] for x in json.loads(done.stdout)["processors"]]
    assert min(ages) > 1_000_000


def test_who_only_looks_makes_no_server_and_declares_nothing(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    (tmp_path / "depot.py").write_text(MODULE)
    for words in (["status", "depot:app"], ["inspect", "depot:items"], ["stream", "info", "depot:items"]):
        done = command(*words, "--embedded=nowhere")
        assert done.returncode == 2
        assert "there is no directory nowhere" in done.stderr
    (tmp_path / "empty").mkdir()
    assert command("inspect", "depot:items", "--embedded=empty").returncode == 0
    assert "knows no stream" in command("status", "--app", "depot", "--embedded=empty", "--over", "0").stdout


@pytest.mark.parametrize("arguments", [[], ["depot:app", "--app", "depot"]])
def test_the_app_is_named_once(arguments: list[str], url: str, command: Callable[..., Any]) -> None:
    done = command("status", *arguments)
    assert done.returncode == 2
    assert "name the app: MODULE:APP, or --app NAME" in done.stderr


async def ends(url: str, times: int) -> None:
    """A worker ends over the same event, again and again."""
    for _ in range(times):
        with pytest.raises(ValueError, match="no item 1"):
            await handled(url, "a", fail_on=1, policy="halt")


def test_a_crash_loop_is_not_well_and_what_ended_the_workers_is_told(url: str, status: Status) -> None:
    trio.run(ends, url, 1)
    done = status("--app", "depot", "--json", target="")
    assert done.returncode == 2, "and no worker runs"
    (once,) = [x for x in json.loads(done.stdout)["troubles"] if x["kind"] == "ended"]
    assert (once["weight"], once["where"]) == ("behind", "items/count")
    assert re.search(
        r"a worker ended .* ago: ValueError: no item 1; in items\[\d\], event \d+-\d, ", once["text"]
    )
    assert 0 <= once["seconds"] < 300
    trio.run(ends, url, 2)
    done = status("--app", "depot", target="")
    assert done.returncode == 2
    assert re.search(
        r"items/count: workers end again and again, 3 within .*ValueError: no item 1", done.stdout
    )
    assert "well" not in done.stdout


def test_an_end_whose_event_was_handled_since_is_a_note(url: str, status: Status) -> None:
    trio.run(ends, url, 3)
    trio.run(handled, url, "a")
    done = status("--app", "depot", target="")
    assert done.returncode == 0, done.stdout
    assert re.search(r"items/count: a worker ended .* ago: ValueError: no item 1", done.stdout)
    assert done.stdout.endswith("All else is well.\n")


def test_the_default_of_what_may_wait_is_ten_seconds(url: str, status: Status) -> None:
    async def stuck() -> Any:
        app = App("depot", default_partition_count=4, redis_url=url)
        items = app.stream("items", Item, partition_by="key")

        @app.processor(items)
        async def count(events: Any) -> None:
            async for _ in events.records():
                await trio.sleep_forever()

        async with app.worker() as worker:
            await items.send(Item(key="a", n=1), stream_ids=["1000-0"])
            done = [
                await trio.to_thread.run_sync(lambda x=x: status("--app", "depot", *x, target=""))
                for x in ([], ["--max-age", "1e12"])
            ]
            worker.abort()
            return done

    old, young = trio.run(stuck)
    assert (old.returncode, young.returncode) == (1, 1), "the worker was just born, and the event is not"
    assert re.search(r"items/count: the oldest event waits for [\d,]+ days, more than 10 s", old.stdout)
    assert "the oldest event" not in young.stdout
    assert re.search(
        r"items/count: no worker is up for longer than .* s, and an event waits for", young.stdout
    )


def test_functions_that_wait_for_a_leader_are_told(tmp_path: Path, url: str, status: Status) -> None:
    (tmp_path / "led.py").write_text(
        MODULE.replace("never_run", "count2")
        + """
@app.timer(interval=60, on_leader=True)
async def tidy(): ...
"""
    )
    trio.run(handled, url, "ab")
    done = status(target="led:app")
    assert done.returncode == 2
    assert "depot: 1 function waits for a lead worker, and there is none" in done.stdout
