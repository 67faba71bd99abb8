#!lua flags=allow-oom
-- Store what ended a worker, in front of earlier endings: one line each, with the time in ms. The key expires.
-- KEYS endings ; ARGV text, how many are kept, for how many seconds. A stranger's value of another type is refused.
local time = redis.call('TIME')
local lines = { string.format('%.0f %s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[1]) }
for line in string.gmatch(redis.call('GET', KEYS[1]) or '', '[^\n]+') do
  if #lines == tonumber(ARGV[2]) then break end
  table.insert(lines, line)
end
redis.call('SET', KEYS[1], table.concat(lines, '\n'), 'EX', ARGV[3])
return 1
