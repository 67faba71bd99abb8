-- How many entries there is room for. If there seem to be too few, entries that every group has passed are removed.
local function room_in(log, size, wanted)
  local room = size - redis.call('XLEN', log)
  if room >= wanted or type_of(log) == 'none' then return room end
  local slowest
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local id = as_table(flat)['last-delivered-id']
    if not slowest or id_before(id, slowest) then slowest = id end
  end
  if not slowest then return room end
  -- The entry at the slowest cursor is removed too, unless its sequence is too large for Lua's numbers.
  local ms, seq = split(slowest)
  if #seq < 16 then slowest = ms .. '-' .. string.format('%.0f', tonumber(seq) + 1) end
  redis.call('XTRIM', log, 'MINID', '=', slowest)
  return size - redis.call('XLEN', log)
end
