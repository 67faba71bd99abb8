#!lua flags=allow-oom
-- The keys that are parked, and the heads of their lists in turn. KEYS keys
local answer, found = {}, redis.call('HGETALL', KEYS[1])
for at = 1, #found, 2 do
  table.insert(answer, found[at])
  table.insert(answer, (string.match(found[at + 1], '^(%d+ %d+ %d+ %d+ %d+ %d+) ')) or '')
end
return answer
