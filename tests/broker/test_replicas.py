"""Whether what was sent is where it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from runnel_trio._broker._redis import _replicas
from runnel_trio._broker._redis._transport._servers import open_servers
from runnel_trio._broker._values import ServerConfig
from runnel_trio.exceptions import BrokerUnavailable


async def test_what_another_master_does_not_have_is_reported_without_the_password() -> None:
    async def ask(calls: Sequence[Any]) -> list[Any]:
        return [None, 1, 1]  # of nobody's sends; a mark; one replica has it

    async with open_servers(ServerConfig("redis://:secret@127.0.0.1:1")) as servers:
        (sender,) = servers.senders
        sender._stored["producers"] = 7
        with pytest.raises(BrokerUnavailable, match="another master took over") as caught:
            await _replicas.sends(ask, servers, ["producers"], 1, 60)
    assert "secret" not in str(caught.value)
