#!lua flags=allow-oom
-- Forget what a processor has in a partition: its cursor, lease, quarantine, parked keys, outbox and tables.
-- KEYS log, lease, quarantine, keys, parked, outbox, tables and their deadlines ; ARGV group
-- Answers 1 if it had a cursor, else 0
redis.call('HGET', KEYS[2], 'owner')  -- these refuse a key of another type, before anything is deleted
redis.call('GET', KEYS[3])
redis.call('HLEN', KEYS[4])
redis.call('HLEN', KEYS[5])
redis.call('XLEN', KEYS[6])
for i = 7, #KEYS, 2 do redis.call('HLEN', KEYS[i]) end
local had = 0
if type_of(KEYS[1]) ~= 'none' then had = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6])
for i = 7, #KEYS do redis.call('UNLINK', KEYS[i]) end  -- they may be large
return had
