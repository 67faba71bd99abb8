-- Whether a log has entries that a group has not acknowledged.
local function is_behind(log, name)
  if type_of(log) ~= 'stream' then return false end
  local group = group_of(log, name)
  if not group then return redis.call('XLEN', log) > 0 end
  return #redis.call('XRANGE', log, '(' .. group['last-delivered-id'], '+', 'COUNT', 1) > 0
end
