"""The rules of docs/howto/acl: with one as it is written its role works; with any command less it is told which."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from acl_roles import ORDERS, RECENT, STEPS, rows, rules

from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._values import ServerConfig
from runnel_trio.exceptions import BrokerRefused

RULES = rules()
#: What a server counts, or a client asks, that no rule has to allow.
ALWAYS = {"auth", "client|setinfo", "hello", "quit"}
#: Asked of another connection, and done without where it is not permitted.
OPTIONAL = {"client|unblock"}
NEVER = {"config", "keys", "flushall", "flushdb", "script", "monitor", "acl", "debug", "shutdown"}


async def done(role: str, url: str, admin: Any) -> None:
    with trio.fail_after(60):
        async with open_redis(ServerConfig(url)) as broker:
            for step in STEPS[role]:
                await step(broker, admin)


def commands(rule: list[str]) -> set[str]:
    return {word[1:] for word in rule if word.startswith("+")}


def test_each_role_has_its_rule() -> None:
    assert set(RULES) == set(STEPS)
    for rule in RULES.values():
        assert "-@all" in rule
        assert "resetkeys" in rule
        assert not {x.partition("|")[0] for x in commands(rule)} & NEVER
        assert not [
            word for word in rule if word.startswith("+@") or word in {"~*", "allkeys", "allcommands"}
        ]


def used(admin: Any) -> set[str]:
    """The commands that were called by others than the test."""
    before = admin.called.copy()
    stats = admin.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): found["calls"] for name, found in stats.items()}
    return {name for name, count in counts.items() if count > before[name]} - ALWAYS


@pytest.mark.parametrize("role", STEPS)
async def test_a_rule_has_the_commands_that_its_role_uses_and_no_others(
    role: str, admin: Any, login: Any
) -> None:
    await done(role, login(["on", ">", "~*", "+@all"]), admin)
    assert used(admin) == commands(RULES[role]) - OPTIONAL


@pytest.mark.parametrize("role", STEPS)
async def test_a_role_does_its_work_under_its_rule(role: str, admin: Any, login: Any) -> None:
    await done(role, login(RULES[role]), admin)


@pytest.mark.parametrize(
    ("role", "missing"), [(role, x) for role in STEPS for x in sorted(commands(RULES[role]) - OPTIONAL)]
)
async def test_with_one_command_less_the_error_names_it(
    role: str, missing: str, admin: Any, login: Any
) -> None:
    rule = [word for word in RULES[role] if word != f"+{missing}"]
    # A script may be called by its text where it cannot be by its name, and says so only once it is forgotten.
    with pytest.raises(BrokerRefused, match=rf"(?i)'{re.escape(missing)}'"):
        await done(role, login(rule), admin)


@pytest.mark.parametrize("role", STEPS)
async def test_keys_of_other_apps_are_out_of_reach(role: str, admin: Any, login: Any) -> None:
    rule = [word.replace("{shop", "{depot") for word in RULES[role]]
    with pytest.raises(BrokerRefused, match="(?i)key"):
        await done(role, login(rule), admin)


async def test_a_sender_can_be_held_to_one_stream(admin: Any, login: Any) -> None:
    rule = [word.replace(":*:", ":orders:") for word in RULES["sender"]]
    rule.append("~runnel:{shop:*}:orders/*:log")
    async with open_redis(ServerConfig(login(rule))) as broker:
        await broker.declare(ORDERS)
        assert await broker.append(ORDERS, {0: rows("a")}) == {0: 1}
        new = (await broker.repartition(ORDERS, 5)).current
        assert await broker.append(new, {0: rows("a")}) == {0: 1}
        with pytest.raises(BrokerRefused, match="(?i)key"):
            await broker.append(RECENT, {0: rows("a")})
