"""How fast is it, next to what one would write by hand: ``python -m benchmarks``.

__main__    rounds, ratios, the table
child       one contender in a process of its own
ours        contenders that use runnel-trio
by_hand     contenders that use redis-py alone
workload    what all of them work on
"""
