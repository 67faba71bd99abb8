"""What runs, box by box; folder depth is nursery depth.

    Worker               _worker.py              one per process
    ├─ Heartbeat         _heartbeat.py           keeps the seats, from a thread
    ├─ Backgrounds       _background.py          tasks, timers, crontabs
    │  └─ Leadership     _leadership.py          in whose terms some of them run
    └─ Succession         _succession.py          one per processor: a member for each layout, one at a time
       └─ Rebalancer      _member/_rebalancer.py  that member: its seat in the party, plan, handover
          ├─ Fetcher      _member/_fetcher.py     the only reader of its partitions
          ├─ Committer    _member/_committer.py   coalesces what partitions have processed
          └─ PartitionExecutor  _member/_partition.py  one per owned partition, in a cancel scope of its own

One event's way: `_redis/_transport/_reader` → `_member/_fetcher` → `_member/_backlog` → `_member/_events`
(its source in `_member/_source`) → `_member/_committer`.
"""
