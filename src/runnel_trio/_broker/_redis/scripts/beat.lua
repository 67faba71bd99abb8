#!lua flags=allow-oom
-- Join, or stay a member; remove members whose time is over, and suspects. _rules/_membership.py has the same rule.
-- KEYS members, plan, control ; ARGV id, expiry in ms, leaving (0/1), about, then the ids of suspects and their beats
-- Answers what view_of does.
local members, plan, control, me = KEYS[1], KEYS[2], KEYS[3], ARGV[1]
local unfit = kinds_fit(members, plan, control)
if unfit then return unfit end
local suspects = {}
for i = 5, #ARGV, 2 do suspects[ARGV[i]] = tonumber(ARGV[i + 1]) end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local mine
for _, member in ipairs(members_of(members)) do
  if member.id == me then
    mine = member
  elseif member.deadline < now or suspects[member.id] == member.beat then
    redis.call('HDEL', members, 'm:' .. member.id)
    changed(members, control, 'removed ' .. member.id)
  end
end
local before = mine and mine.leaving
if not mine and ARGV[3] == '1' then return view_of(members, plan, control, me) end  -- it has left already
if not mine then
  -- At least the time, so that no number is given twice even if the key was lost.
  mine = { beat = 0, joined_as = math.max(tonumber(redis.call('HGET', members, 'places') or '0') + 1, now) }
  redis.call('HSET', members, 'places', string.format('%.0f', mine.joined_as))
end
redis.call('HSET', members, 'm:' .. me, string.format(
  '%.0f %.0f %.0f %s %s %s', now + ARGV[2], mine.beat + 1, mine.joined_as, ARGV[2], ARGV[3], ARGV[4]))
if before ~= ARGV[3] then changed(members, control, (ARGV[3] == '1' and 'leaving ' or 'joined ') .. me) end
return view_of(members, plan, control, me)
