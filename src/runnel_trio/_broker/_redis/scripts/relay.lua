-- Append entries of an outbox to one partition, once. The last id that an outbox has brought stays for ever: what comes
-- with it or before it is here already. (Unlike those of senders it has no time, by which it would be dropped.)
-- KEYS log, producers
-- ARGV outbox, layout, size, overflow, number of entries; for each its id, the number of its fields and values, and these
-- Answers how many of them are here, from the front; -1 when the partition takes entries for another layout.
local log, producers, outbox, size, overflow = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[3]), ARGV[4]
local length, known = redis.call('XLEN', log), redis.call('HMGET', producers, outbox, 'layout')
if (known[2] or '1') ~= ARGV[2] then return -1 end
local at, count, last = 6, tonumber(ARGV[5]), known[1] or '0-0'
local function after_this() return at + 2 + tonumber(ARGV[at + 1]) end
local here = 0
while here < count and not id_before(last, ARGV[at]) do
  here, at = here + 1, after_this()
end
local take = count - here
if overflow ~= 'trim' and length + take > size then take = math.max(0, math.min(take, room_in(log, size, take))) end
for _ = 1, take do
  local fields, following = {}, after_this()
  for i = at + 2, following - 1 do table.insert(fields, ARGV[i]) end
  redis.call('XADD', log, '*', unpack(fields))
  last, at = ARGV[at], following
end
if take > 0 then redis.call('HSET', producers, outbox, last) end
if overflow == 'trim' then redis.call('XTRIM', log, 'MAXLEN', '~', size) end
return here + take
