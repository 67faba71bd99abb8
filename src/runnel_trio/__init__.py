"""Trio-native, partitioned, strictly ordered event processing on Redis Streams.

The nursery tree, which is also the file tree (see docs/architecture.rst):

    App.run / `runnel-trio run`
    └─ Worker                         one per process
       ├─ Heartbeat                   one thread, for the members of all processors
       ├─ Backgrounds                 tasks, timers and crontabs; Leadership runs some on one worker only
       └─ ProcessorRunner             one per processor: a member for each layout of its partitions
          └─ Rebalancer               that member: its session in the party, control
             ├─ Assignment            follows the plan: hands over, acquires
             ├─ Fetcher               the only reader of its partitions
             ├─ Committer             commits for all partitions together
             └─ PartitionExecutor     one per owned partition, in a cancel scope of its own
                └─ middleware chain → processor function

Packages, from the top to the bottom; imports only go down (tests/test_architecture.py):

    _cli _http _demo testing   commands, HTTP pages, the demo, helpers for users' tests
    _app _worker               an app and its declarations; the running tree
    _processor middleware      processors and middleware, as users declare them
    sql                        progress in a user's own database
    _operate                   inspecting and controlling an app from outside: `Operator`
    _stream _sending           streams, and the parts of a send
    _broker _embedded          brokers for Redis, Valkey and memory; the embedded server
    _codec settings            records to bytes and back; values of settings
    _rules                     pure: leases, commits, layouts, failures and more
"""

from __future__ import annotations

from typing import TYPE_CHECKING as _TYPE_CHECKING

from runnel_trio import _early as _early  # before all that takes time
from runnel_trio._app import App as App
from runnel_trio._codec import LZ4 as LZ4
from runnel_trio._codec import FastJSONSerializer as FastJSONSerializer
from runnel_trio._codec import Gzip as Gzip
from runnel_trio._codec import JSONSerializer as JSONSerializer
from runnel_trio._codec import Record as Record
from runnel_trio._event import Event as Event
from runnel_trio._event import Partition as Partition
from runnel_trio._operate._cursors import PartitionReset as PartitionReset
from runnel_trio._operate._parked import Parked as Parked
from runnel_trio._operate._standing import Quarantined as Quarantined
from runnel_trio._processor import Processor as Processor
from runnel_trio._report._telemetry import LogContext as LogContext
from runnel_trio._report._telemetry import log_context as log_context
from runnel_trio._rules._backoff import Backoff as Backoff
from runnel_trio._stream import Stream as Stream
from runnel_trio._table import Table as Table
from runnel_trio._worker._member._partition._events import Events as Events
from runnel_trio._worker._member._partition._table_part import TablePart as TablePart
from runnel_trio._worker._worker import Worker as Worker
from runnel_trio.constants import ExceptionPolicy as ExceptionPolicy
from runnel_trio.constants import Overflow as Overflow
from runnel_trio.exceptions import BrokerRefused as BrokerRefused
from runnel_trio.exceptions import BrokerUnavailable as BrokerUnavailable
from runnel_trio.exceptions import DeserializationError as DeserializationError
from runnel_trio.exceptions import HandlerTimeout as HandlerTimeout
from runnel_trio.exceptions import InternalError as InternalError
from runnel_trio.exceptions import LeaseLost as LeaseLost
from runnel_trio.exceptions import Misconfigured as Misconfigured
from runnel_trio.exceptions import NotLoaded as NotLoaded
from runnel_trio.exceptions import NotReplicated as NotReplicated
from runnel_trio.exceptions import ParkingFull as ParkingFull
from runnel_trio.exceptions import Poisoned as Poisoned
from runnel_trio.exceptions import RecordInvalid as RecordInvalid
from runnel_trio.exceptions import RunnelError as RunnelError
from runnel_trio.exceptions import StreamFull as StreamFull
from runnel_trio.exceptions import TableFull as TableFull
from runnel_trio.exceptions import WorkersAlive as WorkersAlive
from runnel_trio.exceptions import WrongPartition as WrongPartition
from runnel_trio.interfaces import Compressor as Compressor
from runnel_trio.interfaces import Failure as Failure
from runnel_trio.interfaces import Middleware as Middleware
from runnel_trio.interfaces import Retry as Retry
from runnel_trio.interfaces import Serializer as Serializer
from runnel_trio.settings import Settings as Settings

if _TYPE_CHECKING:
    from runnel_trio._operate._operator import Operator as Operator

__all__ = [
    "LZ4",
    "App",
    "Backoff",
    "BrokerRefused",
    "BrokerUnavailable",
    "Compressor",
    "DeserializationError",
    "Event",
    "Events",
    "ExceptionPolicy",
    "Failure",
    "FastJSONSerializer",
    "Gzip",
    "HandlerTimeout",
    "InternalError",
    "JSONSerializer",
    "LeaseLost",
    "LogContext",
    "Middleware",
    "Misconfigured",
    "NotLoaded",
    "NotReplicated",
    "Operator",
    "Overflow",
    "Parked",
    "ParkingFull",
    "Partition",
    "PartitionReset",
    "Poisoned",
    "Processor",
    "Quarantined",
    "Record",
    "RecordInvalid",
    "Retry",
    "RunnelError",
    "Serializer",
    "Settings",
    "Stream",
    "StreamFull",
    "Table",
    "TableFull",
    "TablePart",
    "Worker",
    "WorkersAlive",
    "WrongPartition",
    "log_context",
]


def _named_here() -> None:
    """Let tracebacks and docs name what is public by where it is public."""
    for name in __all__:
        if name == "Operator":
            continue  # names itself; it is imported when it is asked for
        thing = globals()[name]
        if thing.__module__.startswith(f"{__name__}._"):
            thing.__module__ = __name__


_named_here()
del _named_here


def __getattr__(name: str) -> object:
    """Import `Operator`, which few programs need, when somebody asks for it."""
    if name != "Operator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from runnel_trio._operate._operator import Operator

    return Operator
