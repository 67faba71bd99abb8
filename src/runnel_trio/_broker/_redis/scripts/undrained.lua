#!lua flags=allow-oom
-- Whether a partition holds up a processor that is to leave its layout: see _behind.lua.
-- KEYS log, quarantine, keys (of those that are parked), lease ; ARGV group ; answers 1 or 0
return holds_up(KEYS[1], KEYS[2], KEYS[3], KEYS[4], ARGV[1]) and 1 or 0
