#!lua flags=allow-oom
-- Stop being a member. KEYS members, control ; ARGV id ; answers 1, or 0 if it was not a member
local gone = redis.call('HDEL', KEYS[1], 'm:' .. ARGV[1])
if gone == 1 then changed(KEYS[1], KEYS[2], 'left ' .. ARGV[1]) end
return gone
