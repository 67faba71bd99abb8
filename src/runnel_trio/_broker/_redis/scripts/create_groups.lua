#!lua flags=allow-oom
-- Make the groups that a log does not have, at its start. From then on no entry is trimmed that they have not passed.
-- KEYS log, then a lease for each name, but no leases in a layout that takes no entries yet ; ARGV names
-- Answers for each name how many entries had left the log before (0 if it has committed there); -1 if the group existed.
local log, answer = KEYS[1], {}
for i, name in ipairs(ARGV) do
  local lease = KEYS[i + 1]
  table.insert(answer, ensure_group(log, name, lease and redis.call('HGET', lease, 'entries_read')))
end
return answer
