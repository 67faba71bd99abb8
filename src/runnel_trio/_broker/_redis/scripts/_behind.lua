-- Whether a processor has finished a partition. _rules/_drained.py has the same functions, and says what each is for.
local function is_behind(log, name)
  if type_of(log) == 'none' then return false end
  local group = group_of(log, name)
  local newest = as_table(redis.call('XINFO', 'STREAM', log))['last-entry']
  return newest and id_before(group and group['last-delivered-id'] or '0-0', newest[1]) or false
end
local function has_tables(lease)
  local held = redis.call('HGETALL', lease)
  for at = 1, #held, 2 do
    if string.sub(held[at], 1, 6) == 'table:' then return true end
  end
  return false
end
local function holds_up(log, quarantine, keys, outbox, lease, name)
  return redis.call('EXISTS', quarantine, keys) > 0 or redis.call('XLEN', outbox) > 0 or has_tables(lease)
    or is_behind(log, name)
end
local function is_needed(log)
  if type_of(log) == 'none' then return false end
  local groups = redis.call('XINFO', 'GROUPS', log)
  for _, flat in ipairs(groups) do
    if is_behind(log, as_table(flat)['name']) then return true end
  end
  return #groups == 0 and is_behind(log, '')
end
