#!lua flags=allow-oom
-- A partition's log and the groups on it. KEYS log
-- Answers length, entries-added, first id, last id, bytes, then for each group: name, cursor, lag (-1: not known), next id.
if type_of(KEYS[1]) == 'none' then return {} end
local info = as_table(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = info['first-entry']
local answer = {
  info['length'], info['entries-added'], first and first[1] or '0-0', info['last-generated-id'],
  redis.call('MEMORY', 'USAGE', KEYS[1]) or 0,
}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = as_table(flat)
  local cursor = group['last-delivered-id']
  local following = redis.call('XRANGE', KEYS[1], '(' .. cursor, '+', 'COUNT', 1)[1]
  for _, value in ipairs({ group['name'], cursor, group['lag'] or -1, following and following[1] or '0-0' }) do
    table.insert(answer, value)
  end
end
return answer
