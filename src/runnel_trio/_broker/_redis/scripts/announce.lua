#!lua flags=allow-oom
-- Tell a party that partitions were released or paused, or that the layout changed.
-- KEYS control ; ARGV numbers, what happened (released, paused, layout)
tell(KEYS[1], ARGV[2], ARGV[1])
return 1
