"""The waiting read over many partitions, and what becomes of it when the server goes away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import attrs

from runnel_trio._broker._redis._transport._cluster_reads import ClusterReads
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._garbage import few_collections
from runnel_trio._broker._redis._transport._outage import Outage
from runnel_trio._broker._values import Entry
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["RedisReader"]


@attrs.define(eq=False, kw_only=True)
class RedisReader:
    """See `_protocol.Reader`.

    Attributes:
        reads: from the nodes that have the logs.
        outage: shared with everything else that talks to the server.
        log_key: partition number → key of its log.
        block: seconds that a read waits in the server.
    """

    reads: ClusterReads
    outage: Outage
    log_key: Callable[[int], str]
    block: float
    interruptions: int = attrs.field(default=0, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _keys: dict[int, str] = attrs.field(factory=dict, init=False)
    _numbers: dict[str, int] = attrs.field(factory=dict, init=False)
    _open: ExitStack = attrs.field(factory=ExitStack, init=False)

    def __attrs_post_init__(self) -> None:
        self._open.enter_context(few_collections())
        self._open.callback(self.reads.close)

    def _key(self, number: int) -> str:
        """Made once: each read names all its logs again."""
        key = self._keys.get(number)
        if key is None:
            key = self._keys[number] = self.log_key(number)
            self._numbers[key] = number
        return key

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """See `_protocol.Reader`; while the server is away it waits a little and returns nothing."""
        if self._failures:
            self.outage.waits(self)
        # After a failure it does not wait in the server: whether that is back is known at once.
        seconds = 0.001 if self._failures else self.block
        try:
            wanted = {self._key(number): xid for number, xid in positions.items()}
            found = await self.reads.read(wanted, count, seconds)
        except Redirected as error:
            self.interruptions += not error.asking
            return {}
        except BrokerUnavailable as error:
            await self.outage.pause(self, error, self._failures)
            self._failures += 1
            self.interruptions += 1
            return {}
        else:
            self._failures = 0
            self.outage.over(self)
            return {self._numbers[key]: entries for key, entries in found.items()}
        finally:
            self.outage.given_up(self)  # it may not read again

    def wake(self) -> None:
        """See `_protocol.Reader`."""
        self.reads.wake()

    async def aclose(self) -> None:
        """See `_protocol.Reader`."""
        self._open.close()
