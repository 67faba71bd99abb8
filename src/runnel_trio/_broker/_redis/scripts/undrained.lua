#!lua flags=allow-oom
-- Whether a partition keeps a processor from leaving its layout; see _behind.lua.
-- KEYS log, quarantine, keys (of those that are parked), outbox, lease ; ARGV group ; answers 1 or 0
return holds_up(KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], ARGV[1]) and 1 or 0
