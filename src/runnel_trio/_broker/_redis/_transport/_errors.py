"""redis-py's errors in our own words: does waiting heal it, must another server be asked, or neither?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as theirs

from runnel_trio._broker._redis._transport._scripts import commands_at
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, RunnelError

__all__ = ["Demoted", "Moving", "Redirected", "advised", "mapped", "translate"]

#: What a server answers that passes by itself, by the first word.
_PASSING = frozenset({"BUSY", "CLUSTERDOWN", "LOADING", "MISCONF", "NOREPLICAS", "OOM"})
_PASSING_KINDS = (
    theirs.ConnectionError,
    theirs.TimeoutError,
    theirs.OutOfMemoryError,
    theirs.ClusterDownError,
)
#: What redis-py says of a connection that it could not make; the reason of the system stands at the end.
_NO_CONNECTION = re.compile(r"(?:Error (?:-?\d+ )?connecting to .*?\. |Timeout (?=connecting to))(.*?)\.?")
#: Where it says that something was read.
_ADDRESS = re.compile(r" from (\S+:\d+|/[^\s:]+)(?=:| |$) ?")
_REFUSALS = (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError)
_RULES = "Check user, password and permissions (docs/howto/acl)."
#: Of a command in a script, it is no error of its own kind.
_NOT_PERMITTED = ("ACL failure in script", "The user executing the script can't")
#: What a server says that is not, or no longer, the master.
_DEMOTED = frozenset({"READONLY", "MASTERDOWN", "UNBLOCKED"})
_DEMOTED_KINDS = (theirs.ReadOnlyError, theirs.MasterDownError)
#: How redis-py says it of a master that Sentinels have named.
_SINCE_DEMOTED = "previous master"
#: How OpenSSL says that one side does not trust the other: trying again does not help.
_DISTRUST = re.compile(
    r"certificate verify failed|wrong_version_number"
    r"|alert (bad |unknown |no )?(certificate|ca\b)|alert_\w*(cert|_ca)",
    re.IGNORECASE,
)


_TRUST = (
    "Check ssl_ca_certs (the authority that signed the server's certificate), and ssl_certfile with "
    "ssl_keyfile, if the server asks for a certificate."
)
_REMEDIES = {
    "hostname mismatch": "Use a name that the server's certificate has, or ssl_check_hostname=false.",
    "ip address mismatch": "Use a name that the server's certificate has, or ssl_check_hostname=false.",
    "wrong_version_number": "It does not speak TLS there: use redis://, or the other port.",
}


class Demoted(BrokerUnavailable):
    """The server is not the master any more: who is, must be found out anew."""


class Moving(BrokerUnavailable):
    """A slot of a cluster is on its way from one node to another."""


class Redirected(Moving):
    """A node of a cluster says that another one has the slot.

    Attributes:
        slot: number of the slot.
        node: host and port of the other; the host is empty where it is the one that was asked.
        asking: only for this once, because the slot is being moved.
    """

    def __init__(self, text: str, slot: int, node: tuple[str, int], *, asking: bool) -> None:
        super().__init__(text)
        self.slot = slot
        self.node = node
        self.asking = asking


def _once(said: str, place: str) -> str:
    """What redis-py says of a connection, without the address that stands before it."""
    found = _ADDRESS.search(said)
    return said.replace(found[0], "", 1) if found and place.endswith(found[1]) else said


def translate(error: Exception, url: str) -> RunnelError:
    """Our error for one of redis-py's."""
    place = redacted(url)
    said = _once(str(error), place) or type(error).__name__
    if isinstance(error, theirs.AskError):  # MovedError is one too
        kind = "ASK" if type(error) is theirs.AskError else "MOVED"
        text = f"{place}: {kind} {said}"
        return Redirected(text, error.slot_id, (error.host, error.port), asking=kind == "ASK")
    first = said.split(" ", 1)[0]
    if isinstance(error, _REFUSALS):
        return BrokerRefused(f"{place} refuses: {said}. {_RULES}")
    if said.startswith(_NOT_PERMITTED):
        command = commands_at(said)
        more = f" It is {command}." if command else ""
        return BrokerRefused(f"{place} refuses: {said}{more} {_RULES}")
    if _DISTRUST.search(said):
        remedy = next((told for sign, told in _REMEDIES.items() if sign in said.lower()), _TRUST)
        return BrokerRefused(f"{place}: {said.rstrip('.')}. {remedy}")
    if isinstance(error, _DEMOTED_KINDS) or first in _DEMOTED or _SINCE_DEMOTED in said:
        return Demoted(f"{place}: {said}")
    if isinstance(error, theirs.TryAgainError):
        return Moving(f"{place}: {said}")
    if isinstance(error, _PASSING_KINDS) and (reason := _NO_CONNECTION.fullmatch(said)):
        why = "no answer" if said.startswith("Timeout") else reason[1]
        return BrokerUnavailable(f"no server at {place}: {why}")
    if isinstance(error, _PASSING_KINDS) or first in _PASSING:
        return BrokerUnavailable(f"{place}: {said}")
    return BrokerRefused(f"{place} refuses: {said}")


def advised(error: BrokerUnavailable) -> BrokerUnavailable:
    """The same for who has just begun, and may not know what there is: with what to do."""
    if not str(error).startswith("no server at "):
        return error
    return BrokerUnavailable(
        f"{error}. Start one (`redis-server`, or `docker run -p 6379:6379 valkey/valkey`), name another one "
        "(RUNNEL_REDIS_URL; for commands --redis-url too), or take one that comes along: embedded:// "
        "(for commands --embedded)"
    )


@contextmanager
def mapped(url: str) -> Iterator[None]:
    """Let no error of redis-py out."""
    try:
        yield
    except theirs.RedisError as error:
        raise translate(error, url) from error
