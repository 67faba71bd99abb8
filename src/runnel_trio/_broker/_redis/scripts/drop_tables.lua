#!lua flags=allow-oom
-- Delete tables that are elsewhere now. KEYS lease, tables and their deadlines ; ARGV owner, epoch, names ; answers 1, or 0
-- when the lease is another's
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
for i = 2, #KEYS do redis.call('UNLINK', KEYS[i]) end
for i = 3, #ARGV do redis.call('HDEL', KEYS[1], 'table:' .. ARGV[i]) end
return 1
