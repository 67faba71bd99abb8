#!lua flags=allow-oom
-- Join, or stay a member; remove those whose time is over. A late member that nobody has removed yet stays: as long
-- as it is here, nobody has taken what it owns.
-- KEYS members ; ARGV id, expiry in ms, what it is
-- Answers the generation, then the ids of the live members, oldest first.
local key, me = KEYS[1], ARGV[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' and kind ~= 'none' then return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. kind) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local changed, mine, alive = false, nil, {}
for _, member in ipairs(members_of(key)) do
  if member.id == me then
    mine = member
    table.insert(alive, me)
  elseif member.deadline < now then
    redis.call('HDEL', key, 'm:' .. member.id)
    changed = true
  else
    table.insert(alive, member.id)
  end
end
if not mine then
  mine = { beat = 0, place = redis.call('HINCRBY', key, 'places', 1) }
  table.insert(alive, me)
  changed = true
end
redis.call('HSET', key, 'm:' .. me, string.format('%.0f %.0f %.0f %s', now + ARGV[2], mine.beat + 1, mine.place, ARGV[3]))
if changed then redis.call('HINCRBY', key, 'generation', 1) end
table.insert(alive, 1, tonumber(redis.call('HGET', key, 'generation')))
return alive
