#!lua flags=allow-oom
-- From now on a partition takes entries for this layout only, if it does not for a later one already.
-- KEYS producers ; ARGV layout ; answers the one that it takes entries for
local held = tonumber(redis.call('HGET', KEYS[1], 'layout') or '1')
if held >= tonumber(ARGV[1]) then return held end
redis.call('HSET', KEYS[1], 'layout', ARGV[1])
return tonumber(ARGV[1])
