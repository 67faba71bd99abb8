-- How many entries there is room for. When there seems to be less than wanted, what every group has passed goes first.
local function room_in(log, size, wanted)
  local room = size - redis.call('XLEN', log)
  if room >= wanted or type_of(log) == 'none' then return room end
  local slowest
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', log)) do
    local id = as_table(flat)['last-delivered-id']
    if not slowest or id_before(id, slowest) then slowest = id end
  end
  if not slowest then return room end
  -- Up to and with the slowest cursor; a sequence too large for Lua's numbers keeps that one entry.
  local ms, seq = split(slowest)
  if #seq < 16 then slowest = ms .. '-' .. string.format('%.0f', tonumber(seq) + 1) end
  redis.call('XTRIM', log, 'MINID', '=', slowest)
  return size - redis.call('XLEN', log)
end
