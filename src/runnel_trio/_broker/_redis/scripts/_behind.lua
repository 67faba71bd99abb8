-- Whether a log has entries that a group has not acknowledged.
local function is_behind(log, name)
  if type_of(log) == 'none' then return false end
  local group = group_of(log, name)
  if not group then return redis.call('XLEN', log) > 0 end
  local last = as_table(redis.call('XINFO', 'STREAM', log))['last-entry']
  return last and id_before(group['last-delivered-id'], last[1]) or false
end
