#!lua flags=allow-oom
-- Make groups at the start of a log, where it has them not: from then on nothing is trimmed that they have not passed.
-- KEYS log, then a lease for each name; none in a layout that takes no entries yet ; ARGV names
-- Answers for each how many entries had left the log before its time (0 if it has committed there); -1: it was there.
local log, answer = KEYS[1], {}
for i, name in ipairs(ARGV) do
  local lease = KEYS[i + 1]
  table.insert(answer, ensure_group(log, name, lease and redis.call('HGET', lease, 'entries_read')))
end
return answer
