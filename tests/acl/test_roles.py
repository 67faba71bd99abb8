"""The rules of docs/howto/acl: with one as it is written its role works; with any command less it is told which."""

from __future__ import annotations

import re
from typing import Any

import pytest
import trio
from acl_roles import BILL, ORDERS, PAGE, RECENT, STEPS, rows, rules

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._values import Acquired, Commit, CommitOutcome, ServerConfig, TableWrites
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio._rules._tables import TableValue, entry_field
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


def for_tables(role: str) -> list[str]:
    """The commands that the page adds for a role that works with tables."""
    text = PAGE.read_text(encoding="utf-8").partition("**Tables**")[2].partition("\n\n")[0]
    worker, _, operator = text.partition("an operator")
    return re.findall(r"\+\w+", worker if role == "worker" else operator)


async def keeps_tables(broker: Broker) -> None:
    field, value = entry_field(b"sAda"), TableValue((b"data", b"{}"), 1 << 50).packed
    over = TableValue((b"data", b"{}"), 1).packed
    writes = TableWrites("accounts", {field: value, entry_field(b"sBob"): over}, expires=True)
    (granted,) = await broker.acquire(BILL, "w", {0: None})
    assert isinstance(granted, Acquired)
    await broker.append(ORDERS, {0: rows("a")})
    ((xid, _),) = (await broker.reader(BILL, 0.01).read({0: ORIGIN}, 1))[0]
    commit = Commit(granted.lease, 1, ORIGIN, xid, 1, xid, tables=[writes], touched=0)
    assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]
    assert await broker.write_table(BILL, 0, TableWrites("accounts", {field: value}, True)) is (
        CommitOutcome.COMMITTED
    )
    await broker.write_table(BILL, 0, TableWrites("accounts", {entry_field(b"sBob"): None}, True))
    await broker.write_table(
        BILL, 0, TableWrites("accounts", {field: TableValue((b"data", b"{}")).packed}, True)
    )
    await broker.read_tables(BILL, {0: {"accounts": [field]}})
    await broker.scan_table(BILL, 0, "accounts")
    assert await broker.table_names(BILL, 0) == ["accounts"]
    assert await broker.copy_table(BILL, 1, writes)
    assert await broker.drop_tables(BILL, granted.lease, ["accounts"])


async def test_tables_need_the_commands_that_the_page_adds(admin: Any, login: Any) -> None:
    async with open_redis(ServerConfig(login([*RULES["worker"], *for_tables("worker")]))) as broker:
        with trio.fail_after(60):
            await broker.declare(ORDERS)
            await keeps_tables(broker)
    assert set(for_tables("worker")) <= {f"+{x}" for x in used(admin)}


async def test_an_operator_empties_tables_with_what_the_page_adds(admin: Any, login: Any) -> None:
    async with open_redis(ServerConfig(login([*RULES["worker"], *for_tables("worker")]))) as broker:
        await broker.declare(ORDERS)
        await broker.write_table(BILL, 0, TableWrites("accounts", {entry_field(b"sAda"): b"x" * 10}))
        await broker.write_table(BILL, 1, TableWrites("accounts", {entry_field(b"sAda"): b"x" * 10}))
    async with open_redis(ServerConfig(login([*RULES["operator"], *for_tables("operator")]))) as broker:
        await broker.rewind(BILL, {0: b"$"}, dry_run=False, empty=True)
        assert await broker.table_names(BILL, 0) == []
        await broker.forget(BILL)
        assert await broker.table_names(BILL, 1) == []
