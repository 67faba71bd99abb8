-- A group and its log as flat tables; nil for a group that is not there.
local function as_table(flat)
  local t = {}
  for i = 1, #flat, 2 do t[flat[i]] = flat[i + 1] end
  return t
end
local function type_of(key) return redis.call('TYPE', key).ok end
-- Of a call that failed: where it is for want of a permission, the error may not say of what.
local function refusal(failed, command) return redis.error_reply(failed.err .. " ('" .. command .. "')") end
local function group_in(groups, name)
  for _, flat in ipairs(groups) do
    local group = as_table(flat)
    if group['name'] == name then return group end
  end
end
local function group_of(log, name) return group_in(redis.call('XINFO', 'GROUPS', log), name) end
local function state_of(log, group)
  local info = as_table(redis.call('XINFO', 'STREAM', log))
  local first, last = info['first-entry'], info['last-entry']
  return {
    group['last-delivered-id'], group['entries-read'] or -1, info['length'], info['entries-added'],
    info['last-generated-id'], info['max-deleted-entry-id'], first and first[1] or '0-0',
    last and last[1] or '0-0',
  }
end
-- How many entries ever left a log, by trimming or deletion.
local function gone_from(log)
  if type_of(log) == 'none' then return 0 end
  local info = as_table(redis.call('XINFO', 'STREAM', log))
  return info['entries-added'] - info['length']
end
-- Make a group at the start of a log, if it is not there, with the entries-read that makes its lag exact. The field
-- entries_read of its lease says how many a group of that name had read before it was destroyed: what left the log beyond
-- them is lost, and stays in the lag until an owner tells it. Without that field it is new here, and what was before its
-- time is not lost. Answers how many were before its time, -1 where the group was there.
local function ensure_group(log, name, read)
  if type_of(log) ~= 'none' and group_of(log, name) then return -1 end
  local gone, known = gone_from(log), tonumber(read or '-1')
  local counted = known < 0 and gone or math.min(gone, known)
  redis.call('XGROUP', 'CREATE', log, name, '0', 'MKSTREAM', 'ENTRIESREAD', counted)
  return read and 0 or gone
end
