"""Trio-native, partitioned, strictly ordered event processing on Redis Streams.

The nursery tree, which is also the file tree (see docs/architecture.rst):

    App.run / `runnel-trio run`
    └─ Worker                         one per process
       └─ Rebalancer                  one per processor: membership, heartbeat, assignment
          ├─ Fetcher                  one per processor: the only reader of its partitions
          ├─ Committer                one per processor: coalesces what partitions have processed
          └─ PartitionExecutor        one per owned partition, in a cancel scope of its own
             └─ middleware chain → processor function
"""

from __future__ import annotations

from runnel_trio.constants import ExceptionPolicy as ExceptionPolicy
from runnel_trio.constants import Overflow as Overflow
from runnel_trio.exceptions import BrokerRefused as BrokerRefused
from runnel_trio.exceptions import BrokerUnavailable as BrokerUnavailable
from runnel_trio.exceptions import DeserializationError as DeserializationError
from runnel_trio.exceptions import InternalError as InternalError
from runnel_trio.exceptions import LeaseLost as LeaseLost
from runnel_trio.exceptions import Misconfigured as Misconfigured
from runnel_trio.exceptions import RecordInvalid as RecordInvalid
from runnel_trio.exceptions import RunnelError as RunnelError
from runnel_trio.exceptions import StreamFull as StreamFull
from runnel_trio.interfaces import Compressor as Compressor
from runnel_trio.interfaces import Middleware as Middleware
from runnel_trio.interfaces import Serializer as Serializer
