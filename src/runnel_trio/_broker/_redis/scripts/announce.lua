#!lua flags=allow-oom
-- Tell a party which partitions were released, or paused. KEYS control ; ARGV numbers, released or paused
tell(KEYS[1], ARGV[2], ARGV[1])
return 1
