#!lua flags=allow-oom
-- Forget what a processor has in a partition: its cursor, lease and quarantine.
-- KEYS log, lease, quarantine ; ARGV group ; answers 1 if it had a cursor, else 0
redis.call('HGET', KEYS[2], 'owner')  -- these two refuse a key of another type, before anything is deleted
redis.call('GET', KEYS[3])
local had = 0
if type_of(KEYS[1]) ~= 'none' then had = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('DEL', KEYS[2], KEYS[3])
return had
