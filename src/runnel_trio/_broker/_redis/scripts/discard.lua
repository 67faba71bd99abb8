#!lua flags=allow-oom
-- Delete a partition of a former layout, if everything in it is acknowledged by all that read it.
-- KEYS log, producers, then a quarantine and a lease for each processor ; ARGV layout, names of the processors
-- Answers 1, or 0 when it stays.
if tonumber(redis.call('HGET', KEYS[2], 'layout') or '1') <= tonumber(ARGV[1]) then return 0 end  -- it takes entries
for i = 2, #ARGV do
  if holds_up(KEYS[1], KEYS[2 * i - 1], ARGV[i]) then return 0 end
end
if is_needed(KEYS[1]) then return 0 end
-- A lease of another type is refused, before anything is deleted; a quarantine of any type has held the partition up.
for i = 4, #KEYS, 2 do redis.call('HGET', KEYS[i], 'owner') end
redis.call('DEL', KEYS[1])
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
return 1
