#!lua flags=allow-oom
-- Keep that a worker was ended, in front of those before it; a line each, with the time in ms. The key goes by itself.
-- KEYS endings ; ARGV what, how many are kept, for how many seconds. What is no string is somebody else's, and stays.
local time = redis.call('TIME')
local lines = { string.format('%.0f %s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]) }
for line in string.gmatch(redis.call('GET', KEYS[1]) or '', '[^\n]+') do
  if #lines == tonumber(ARGV[2]) then break end
  table.insert(lines, line)
end
redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'EX', ARGV[3])
return 1
