#!lua flags=allow-oom
-- Delete a partition of a former layout, if all its readers have acknowledged everything in it.
-- KEYS log, producers, then for each processor: quarantine, lease, keys, parked, outbox ; ARGV layout, names of the processors
-- Answers 1, or 0 if the partition stays.
if tonumber(redis.call('HGET', KEYS[2], 'layout') or '1') <= tonumber(ARGV[1]) then return 0 end  -- still in use
for i = 2, #ARGV do
  local at = 5 * i - 7
  if holds_up(KEYS[1], KEYS[at], KEYS[at + 2], KEYS[at + 4], KEYS[at + 1], ARGV[i]) then return 0 end
end
if is_needed(KEYS[1]) then return 0 end
-- This refuses a lease of another type, before anything is deleted. No quarantine is left: it would have held this up.
for i = 4, #KEYS, 5 do redis.call('HGET', KEYS[i], 'owner') end
redis.call('DEL', KEYS[1])
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
