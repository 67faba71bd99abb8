"""redis-py's errors in our own words: does waiting heal it, must another server be asked, or neither?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as theirs

from runnel_trio._broker._redis._transport._scripts import commands_at
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, RunnelError

__all__ = ["Demoted", "Moving", "Redirected", "advised", "translate", "translating"]

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


def _without_address(message: str, url: str) -> str:
    """What redis-py says of a connection, without the address where that is the one of the URL."""
    found = _ADDRESS.search(message)
    return message.replace(found[0], "", 1) if found and url.endswith(found[1]) else message


def translate(error: Exception, url: str) -> RunnelError:
    """Our error for one of redis-py's."""
    where = redacted(url)
    message = _without_address(str(error), where) or type(error).__name__
    if isinstance(error, theirs.AskError):  # MovedError is one too
        kind = "ASK" if type(error) is theirs.AskError else "MOVED"
        text = f"{where}: {kind} {message}"
        return Redirected(text, error.slot_id, (error.host, error.port), asking=kind == "ASK")
    first = message.split(" ", 1)[0]
    if isinstance(error, _REFUSALS):
        return BrokerRefused(f"{where} refuses: {message}. {_RULES}")
    if message.startswith(_NOT_PERMITTED):
        command = commands_at(message)
        more = f" It is {command}." if command else ""
        return BrokerRefused(f"{where} refuses: {message}{more} {_RULES}")
    if _DISTRUST.search(message):
        remedy = next((advice for sign, advice in _REMEDIES.items() if sign in message.lower()), _TRUST)
        return BrokerRefused(f"{where}: {message.rstrip('.')}. {remedy}")
    if isinstance(error, _DEMOTED_KINDS) or first in _DEMOTED or _SINCE_DEMOTED in message:
        return Demoted(f"{where}: {message}")
    if isinstance(error, theirs.TryAgainError):
        return Moving(f"{where}: {message}")
    if isinstance(error, _PASSING_KINDS) and (reason := _NO_CONNECTION.fullmatch(message)):
        why = "no answer" if message.startswith("Timeout") else reason[1]
        return BrokerUnavailable(f"no server at {where}: {why}")
    if isinstance(error, _PASSING_KINDS) or first in _PASSING:
        return BrokerUnavailable(f"{where}: {message}")
    return BrokerRefused(f"{where} refuses: {message}")


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
def translating(url: str) -> Iterator[None]:
    """Let no error of redis-py out."""
    try:
        yield
    except theirs.RedisError as error:
        raise translate(error, url) from error
