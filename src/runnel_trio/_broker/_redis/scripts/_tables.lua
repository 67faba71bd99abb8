-- Entries of tables: see _rules/_tables.py. ARGV from `at`: the number of tables; for each the index of its hash's key, that
-- of its deadlines being the next, its name, whether its entries expire (0/1), the number of changes; for each the field, the
-- deadline (0 none) and the value ('' it is gone). First all are judged, then all written.
local function tables_from(at)
  local tables, count = {}, tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    local index, changes = tonumber(ARGV[at]), tonumber(ARGV[at + 3])
    table.insert(tables, {
      key = KEYS[index], due = KEYS[index + 1], name = ARGV[at + 1], expires = ARGV[at + 2] == '1',
      first = at + 4, last = at + 3 + 3 * changes,
    })
    at = at + 4 + 3 * changes
  end
  return tables, at
end
-- As the server judges it, which lets a script pass that may delete.
local function is_server_full()
  local info = redis.call('INFO', 'memory')
  local function bytes(name) return tonumber(string.match(info, name .. ':(%d+)') or '0') end
  local most = bytes('maxmemory')
  return most > 0 and bytes('used_memory') - bytes('mem_not_counted_for_evict') > most
end
local function lack_room(tables)
  local grow = false
  for _, own in ipairs(tables) do
    redis.call('HLEN', own.key)  -- of another type these two say so before anything is written
    redis.call('ZCARD', own.due)
    for at = own.first, own.last, 3 do grow = grow or ARGV[at + 2] ~= '' end
  end
  return grow and is_server_full()
end
local function in_pieces(command, key, words)
  for first = 1, #words, 1000 do redis.call(command, key, unpack(words, first, math.min(first + 999, #words))) end
end
-- Remove a few entries that are over; the value says when it is, for a deadline may be one of a value before.
local function sweep(own)
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  for _, field in ipairs(redis.call('ZRANGEBYSCORE', own.due, '-inf', now, 'LIMIT', 0, 100)) do
    local value = redis.call('HGET', own.key, field)
    local deadline = value and struct.unpack('>I8', value, 2) or 0
    if deadline > 0 and deadline <= now then redis.call('HDEL', own.key, field) end
    redis.call('ZREM', own.due, field)
  end
end
local function write_tables(lease, tables)
  for _, own in ipairs(tables) do
    local kept, gone, due, endless = {}, {}, {}, {}
    for at = own.first, own.last, 3 do
      local field, deadline, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
      if value == '' then
        table.insert(gone, field)
      else
        table.insert(kept, field)
        table.insert(kept, value)
      end
      if deadline ~= '0' then
        table.insert(due, deadline)
        table.insert(due, field)
      else
        table.insert(endless, field)
      end
    end
    if #kept > 0 then redis.call('HSET', lease, 'table:' .. own.name, '1') end
    in_pieces('HSET', own.key, kept)
    in_pieces('HDEL', own.key, gone)
    if own.expires then
      in_pieces('ZADD', own.due, due)
      in_pieces('ZREM', own.due, endless)
      sweep(own)
    end
  end
end
