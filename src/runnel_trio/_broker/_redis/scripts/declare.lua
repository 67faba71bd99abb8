#!lua flags=allow-oom
-- Fix what must never change about a stream, if nobody has yet; answer what holds.
-- KEYS meta ; ARGV partition_count, record, hasher, then what may change, for people who look: partition_size, overflow
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. KEYS[1] .. ' is a ' .. kind) end
if kind == 'none' then
  redis.call('HSET', KEYS[1], 'partition_count', ARGV[1], 'record', ARGV[2], 'hasher', ARGV[3])
end
-- Every worker that starts declares: a full server, which is to be drained, must not refuse that.
redis.call('HSET', KEYS[1], 'partition_size', ARGV[4], 'overflow', ARGV[5])
return redis.call('HMGET', KEYS[1], 'partition_count', 'record', 'hasher')
