-- Append entries to one partition: none twice, and none beyond its size unless the oldest may be dropped.
-- KEYS log, producers
-- ARGV producer, sequence, size, overflow, layout, width, width field names, explicit (0/1), [ids], then width values per
-- entry
-- Answers how many entries were stored, counted from the front; -1 if the partition takes entries for another layout.
local log, producers = KEYS[1], KEYS[2]
local producer, sequence, size, overflow = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local width = tonumber(ARGV[6])
local explicit = ARGV[7 + width] == '1'
-- These two refuse a key of another type, before anything is written. Asking for TYPE would take a tenth of a send.
local length, known = redis.pcall('XLEN', log), redis.pcall('HMGET', producers, producer, 'layout')
if type(length) == 'table' then return refusal(length, 'xlen') end
if known.err then return refusal(known, 'hmget') end
local done = known[1]
if done then
  local last, stored = string.match(done, '^(%d+) (%d+)')
  if sequence == last then return tonumber(stored) end
  if tonumber(sequence) < tonumber(last) then return redis.error_reply('STALE ' .. last) end
end
-- Checked only now, because a repeated call that was stored before the seal must still answer its count. This refusal is
-- permanent, so it need not be remembered.
if (known[2] or '1') ~= ARGV[5] then return -1 end

local head = 7 + width
local offered = (#ARGV - head) / (width + (explicit and 1 or 0))
if explicit then
  local last = '0-0'
  if type_of(log) == 'stream' then last = as_table(redis.call('XINFO', 'STREAM', log))['last-generated-id'] end
  for i = 1, offered do
    local id = ARGV[head + i]
    if not id_before(last, id) then return redis.error_reply('BADID ' .. id .. ' is not above ' .. last) end
    last = id
  end
end

local take = offered
if overflow ~= 'trim' then
  local room = size - length
  if room < offered then room = room_in(log, size, offered) end
  take = math.max(0, math.min(offered, room))
end
local now = redis.call('TIME')
if not done and redis.call('HLEN', producers) > 100 then
  local all = redis.call('HGETALL', producers)
  for i = 1, #all, 2 do
    local at = tonumber(string.match(all[i + 1], ' (%d+)$') or now[1])
    if at + 3600 < tonumber(now[1]) then redis.call('HDEL', producers, all[i]) end
  end
end
-- A refusal is remembered too: a copy of this call that was delayed must not store what has been sent again meanwhile.
local function remember() redis.call('HSET', producers, producer, sequence .. ' ' .. string.format('%.0f', take) .. ' ' .. now[1]) end
if take == 0 then
  remember()
  return 0
end
local values = head + (explicit and offered or 0)
if width == 1 and not explicit then  -- nearly all sends; this takes a quarter of the time
  local name = ARGV[7]
  for i = values + 1, values + take do redis.call('XADD', log, '*', name, ARGV[i]) end
else
  local row = {}
  for i = 0, take - 1 do
    for field = 1, width do
      row[2 * field - 1], row[2 * field] = ARGV[6 + field], ARGV[values + i * width + field]
    end
    redis.call('XADD', log, explicit and ARGV[head + i + 1] or '*', unpack(row))
  end
end
if overflow == 'trim' then redis.call('XTRIM', log, 'MAXLEN', '~', size) end
remember()
return take
