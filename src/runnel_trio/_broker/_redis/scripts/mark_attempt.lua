#!lua flags=allow-oom
-- Mark that an entry is about to be handled once more, so that the next owner knows it if this one dies over the entry.
-- KEYS lease ; ARGV owner, epoch, id, count ; answers 1, or 0 if the lease is another's
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], 'attempts', ARGV[3] .. ' ' .. ARGV[4])
return 1
