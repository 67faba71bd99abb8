"""What runs, box by box; folder depth is nursery depth.

    Worker               _worker.py              one per process
    ├─ Heartbeat         _heartbeat.py           renews the leases, from a thread
    ├─ Backgrounds       _background.py          tasks, timers, crontabs
    │  └─ Leadership     _leadership.py          runs some of them on one worker only
    └─ ProcessorRunner   _processor_runner.py    one per processor: a member for each layout, one at a time
       └─ Rebalancer      _member/_rebalancer.py  that member: its session in the party, and its tasks
          ├─ Assignment   _member/_assignment.py  follows the plan: hands over, acquires
          ├─ Fetcher      _member/_fetcher.py     the only reader of its partitions
          ├─ Committer    _member/_committer.py   coalesces what partitions have processed
          └─ PartitionExecutor  _member/_partition/_executor.py  one per owned partition, in its own scope
             └─ Lane      _member/_partition/_lane.py  calls the function, again and again

The path of an event: `_broker/_redis/_reader` → `_member/_fetcher` → `_member/_backlog` →
`_partition/_source` → `_partition/_events` → `_member/_committer`.
"""
