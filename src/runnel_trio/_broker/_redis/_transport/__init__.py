"""From a call to the server that answers it. One server is a cluster of one node.

    Servers                     _servers.py             the nodes of a URL, and what goes to each:
    ├─ Batcher                  _batcher.py             calls that gather while a batch is under way
    ├─ SendCoalescer            _coalescer.py           single records of many tasks, as one shipment
    │  └─ Sender                _sender.py              numbers what a Batcher has for a partition, repeats it
    └─ RedisReader              _reader.py              waits while the server is away, and reads on
       └─ ClusterReads          _cluster_reads.py       all keys at once, or those of a cluster in turn
          └─ BlockingRead       _blocking_read.py       waits in the server, until it is woken
    ClusterConnection           _cluster_connection.py  carries batches, and heartbeats: each call to its node
    ├─ Topology                 _topology.py            which node has a key
    └─ Connection               _connection.py          a socket; writes calls and reads replies, by these:
       ├─ _scripts  _foreign    what a call is as bytes; what its reply says
       ├─ _socket   Waiter      without a thread, where that can be
       └─ Endpoint  _errors     where it leads; redis-py's errors in our words

`BlockingRead` has a `Connection` of its own. Who repeats what fails shares an `Outage` with all others.
"""
