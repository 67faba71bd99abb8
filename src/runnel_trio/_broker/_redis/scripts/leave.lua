#!lua flags=allow-oom
-- Stop being a member. KEYS members ; ARGV id ; answers 1, or 0 when it was none.
local gone = redis.call('HDEL', KEYS[1], 'm:' .. ARGV[1])
if gone == 1 then redis.call('HINCRBY', KEYS[1], 'generation', 1) end
return gone
