#!lua flags=allow-oom
-- Whether a partition holds up a processor that is to leave its layout: it stands still, or not all is acknowledged.
-- KEYS log, quarantine ; ARGV group ; answers 1 or 0
if redis.call('EXISTS', KEYS[2]) == 1 then return 1 end
return is_behind(KEYS[1], ARGV[1]) and 1 or 0
