#!lua flags=allow-oom
-- Give a lease up, if it is still held. Its epoch stays, so that the next one is higher.
-- KEYS lease ; ARGV owner, epoch ; answers 1 or 0
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '')
redis.call('HDEL', KEYS[1], 'attempts')
return 1
