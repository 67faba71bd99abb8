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
  local first = info['first-entry']
  return {
    group['last-delivered-id'], group['entries-read'] or -1, info['length'], info['entries-added'],
    info['last-generated-id'], info['max-deleted-entry-id'], first and first[1] or '0-0',
  }
end
