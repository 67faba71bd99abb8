#!lua flags=allow-oom
-- Delete a partition of a former layout, if everything in it is acknowledged by all that read it.
-- KEYS log, producers, then for each processor: quarantine, lease, keys, parked ; ARGV layout, names of the processors
-- Answers 1, or 0 when it stays.
if tonumber(redis.call('HGET', KEYS[2], 'layout') or '1') <= tonumber(ARGV[1]) then return 0 end  -- it takes entries
for i = 2, #ARGV do
  if holds_up(KEYS[1], KEYS[4 * i - 5], KEYS[4 * i - 3], KEYS[4 * i - 4], ARGV[i]) then return 0 end
end
if is_needed(KEYS[1]) then return 0 end
redis.call('DEL', KEYS[1])
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
