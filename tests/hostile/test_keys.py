"""Names stay in their keys; and what somebody else has put into these ends in an error of ours, never in another."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations
from typing import Any

import click
import pytest
import redis
import trio
from hostile_keys import BILL, SPEC, keys_of
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio import App, Misconfigured
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._seen import Ending
from runnel_trio._broker._values import AppSpec, Batch, Beat, Commit, Lease, ServerConfig
from runnel_trio._cli._board import board
from runnel_trio._names import checked_name
from runnel_trio._operate._health import Limits, troubles
from runnel_trio._operate._overview import overview
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.exceptions import RunnelError

Look = Callable[[Any], None]

REFUSED = [
    *(
        "",
        " ",
        "a b",
        "a\n",
        "\0",
        "a\0b",
        "{",
        "}",
        "{x}",
        "a}:b",
        "a:b",
        "a/b",
        "/",
        ":",
        "..\t",
        "\u2028",
        "\x7f",
    ),
    *("\x1b[2J", "\ud800", "\u200b", "\ufeff", "x" * 129, "é" * 65),
]
ODD = [
    "a",
    "a*",
    "*",
    "?",
    "[a]",
    "^",
    "\\",
    "a~2",
    "lease",
    "log",
    "meta",
    "leader",
    "members",
    "0",
    "é",
    "e\u0301",
    "日本",
    "%7B",
    "$",
]
NAMES = st.sampled_from(ODD) | st.text(min_size=1, max_size=20).filter(
    lambda x: not set(x) & set("{}:/") and x.isprintable() and " " not in x
)


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_could_leave_its_key_is_refused(name: str) -> None:
    with pytest.raises(Misconfigured, match="name"):
        checked_name("stream", name)
    with pytest.raises(Misconfigured, match="name"):
        App(name)


def test_every_maker_of_keys_is_looked_at() -> None:
    assert set(_keys.__all__) == {
        "control",
        "due",
        "endings",
        "lease",
        "log",
        "members",
        "meta",
        "outbox",
        "parked",
        "parked_keys",
        "plan",
        "producers",
        "quarantine",
        "table",
    }


def test_names_stay_in_their_keys_and_no_two_share_one(look: Look) -> None:
    @given(
        places=st.lists(
            st.tuples(NAMES, NAMES, NAMES, st.integers(0, 12)), min_size=2, max_size=4, unique=True
        )
    )
    def test(places: list[tuple[str, str, str, int]]) -> None:
        whose: dict[str, set[tuple[Any, ...]]] = {}
        for app, stream, processor, number in places:
            assert [checked_name("x", x) for x in (app, stream, processor)]
            for key, expected in keys_of(app, stream, processor, number).items():
                assert key == expected
                tag = re.search(r"\{(.*?)\}", key)
                assert tag is not None
                assert tag[1] in {app, f"{app}:{number}", f"{app}/{stream}/{processor}"}
                kind = key.rpartition(":")[2] if ":lease:" not in key and ":quarantine:" not in key else key
                alone = ":leader:" in key or key.endswith("}:endings")
                named = (app,) if alone and tag[1] == app else (app, stream)
                whose.setdefault(key, set()).add((kind, *named))
        assert all(len(owners) == 1 for owners in whose.values())
        for one, other in combinations({app for app, *_ in places}, 2):
            mine = {key for app, *rest in places if app == one for key in keys_of(app, *rest)}
            assert not [key for key in mine if key.startswith(tuple(f"runnel:{{{other}{x}" for x in "}:/"))]

    look(test)


KEYS = sorted([*keys_of("shop", "orders", "bill", 0), "runnel:{shop}:\x1b[2J:meta", "runnel:{shop}:a:b:meta"])
FIELDS = st.sampled_from(
    ["owner", "epoch", "read_to", "attempts", "partition_count", "overflow", "generation", "places", "m:w", "released", "paused", "data"]
) | st.binary(max_size=4)  # fmt: skip
WORDS = st.sampled_from(
    ["1", "-1", "1e400", "9" * 40, "", "x", "w 1 2", "1 1 1 1 0 x", "1 1 1 1", "0-1", "{}", "[]", '{"first":1}', "block", "0 1 99999", "a,b", 'w {"pid":"x"}',
     '9999999999999 1 1 1 0 {"pid":[],"since":{}}', "9999999999999 1 1 1 0 [[", '9999999999999 1 1 1 0 {"host":"\\u001b"}',
     '{"partition":0,"first":"1-1","last":"1-1","count":1,"error":"\\u001b","traceback":"","time":"2026-01-01","member":"w"}',
     '{"partition":0,"first":"1-1","last":"1-1","count":"x","error":"","traceback":"","time":"never","member":7}', "1000000000"]
) | st.binary(max_size=8)  # fmt: skip
PAIRS = st.dictionaries(FIELDS, WORDS, min_size=1, max_size=4)


def put(admin: Any, key: str, kind: str, pairs: dict[Any, Any]) -> None:
    if kind == "string":
        admin.set(key, next(iter(pairs.values())))
    elif kind == "list":
        admin.rpush(key, *pairs.values())
    elif kind == "stream":
        admin.xadd(key, pairs)
    elif kind == "group":
        admin.xgroup_create(key, next(iter(pairs.values())), mkstream=True)
    else:
        admin.hset(key, mapping=pairs)


async def shown(broker: Broker) -> None:
    """As ``runnel-trio status`` does."""
    view = await overview(broker, "shop", [BILL])
    lines = [*board(view, view), *(x.line for x in troubles(view, Limits(1, 1)))]
    assert all(click.unstyle(line).isprintable() for line in lines)


async def everything(broker: Broker) -> None:
    """Every verb that reads what others may have written."""
    lease = Lease(0, "w", 1)
    verbs: list[Callable[[], Any]] = [
        lambda: shown(broker),
        lambda: broker.survey(SPEC),
        lambda: broker.members(BILL),
        lambda: broker.members(AppSpec("shop")),
        lambda: broker.declare(SPEC),
        lambda: broker.append(SPEC, {0: Batch((b"data",), [b"x"])}),
        lambda: broker.beat(Beat(party=BILL, member="w", expiry=10, about="w")),
        lambda: broker.acquire(BILL, "w", {0: None, 1: None}),
        lambda: broker.log_states(BILL, [0, 1]),
        lambda: broker.mark_attempt(BILL, lease, b"1-1", 1),
        lambda: broker.commit(BILL, [Commit(lease, 1, ORIGIN, b"1-1", 1, b"1-1")]),
        lambda: broker.quarantined(BILL, [0]),
        lambda: broker.rewind(BILL, {0: ORIGIN}, dry_run=False),
        lambda: broker.muster(BILL),
        lambda: broker.muster(AppSpec("shop")),
        lambda: broker.ended("shop", Ending(error="E", partition=0)),
        lambda: broker.leave(BILL, "w"),
        lambda: broker.forget(BILL),
    ]
    for verb in verbs:
        with suppress(RunnelError), trio.fail_after(60):
            await verb()


def test_whatever_stands_in_the_keys_of_an_app_each_verb_answers_or_refuses(server: str, look: Look) -> None:
    @given(
        keys=st.lists(
            st.tuples(st.sampled_from(KEYS), st.sampled_from(["hash", "stream", "group", "string", "list"]), PAIRS),
            min_size=1, max_size=5, unique_by=lambda x: x[0],
        )
    )  # fmt: skip
    def test(keys: list[tuple[str, str, dict[Any, Any]]]) -> None:
        async def main() -> None:
            async with open_redis(ServerConfig(server)) as broker:
                await everything(broker)

        with redis.Redis.from_url(server, protocol=2) as admin:
            admin.flushall()
            for key in keys:
                put(admin, *key)
        trio.run(main)

    look(test)
