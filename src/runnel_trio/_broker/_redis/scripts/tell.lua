#!lua flags=allow-oom
-- Tell a party which partitions were released. KEYS control ; ARGV numbers
tell(KEYS[1], 'released', ARGV[1])
return 1
