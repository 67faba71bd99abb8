#!lua flags=allow-oom
-- Forget a processor's place in a partition. KEYS log, lease, quarantine, keys, parked, tables and their deadlines ; ARGV
-- group ; answers 1 if it had one
local had = 0
if type_of(KEYS[1]) ~= 'none' then had = redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
for i = 6, #KEYS do redis.call('UNLINK', KEYS[i]) end  -- they may be large
return had
