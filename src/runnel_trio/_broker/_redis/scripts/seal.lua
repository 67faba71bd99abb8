#!lua flags=allow-oom
-- Have a partition take entries for this layout only, unless it already takes those of a later one.
-- KEYS producers ; ARGV layout ; answers the layout that it takes entries for
local held = tonumber(redis.call('HGET', KEYS[1], 'layout') or '1')
if held >= tonumber(ARGV[1]) then return held end
redis.call('HSET', KEYS[1], 'layout', ARGV[1])
return tonumber(ARGV[1])
