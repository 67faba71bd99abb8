"""One server for all, whose users have the rules that docs/howto/acl shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
import redis

from runnel_trio._embedded._server import start

Login: TypeAlias = Callable[..., str]


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """Its URL, for somebody who may do everything."""
    running = start("embedded://")
    yield running.url
    running.stop()


class Admin(redis.Redis):
    """A client that may do everything, and counts what it does."""

    called: Counter[str]

    def execute_command(self, *words: Any, **options: Any) -> Any:
        self.called["|".join(str(words[0]).lower().split())] += 1
        return super().execute_command(*words, **options)


@pytest.fixture
def admin(server: str) -> Iterator[Any]:
    """On a server that has nothing."""
    with Admin.from_url(server, protocol=2) as client:
        client.called = Counter()
        client.flushall()
        client.script_flush()
        client.acl_log_reset()
        client.called.clear()
        client.config_resetstat()
        yield client


@pytest.fixture
def login(server: str, admin: Any) -> Login:
    """A URL for a user who has a rule."""

    def made(rule: list[str], name: str = "somebody") -> str:
        words = [">secret" if word.startswith(">") else word for word in rule]
        admin.execute_command("ACL SETUSER", name, "reset", *words)
        return server.partition("?")[0].replace("unix://", f"unix://{name}@", 1) + "?password=secret"

    return made
