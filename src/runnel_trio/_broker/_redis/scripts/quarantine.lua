#!lua flags=allow-oom
-- Let a partition stand still: say why, and give its lease up. Said again by the same one, it holds already.
-- KEYS lease, quarantine ; ARGV owner, epoch, why ; answers 1, or 0 when the lease is another's
local held = redis.call('HMGET', KEYS[1], 'owner', 'epoch')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then
  return redis.call('GET', KEYS[2]) == ARGV[3] and 1 or 0
end
redis.call('SET', KEYS[2], ARGV[3], 'GET')  -- which refuses another type, and SET alone would not
redis.call('HSET', KEYS[1], 'owner', '')
redis.call('HDEL', KEYS[1], 'attempts')
return 1
