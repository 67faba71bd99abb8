-- A party, for people to see. KEYS members, plan, control; for an app's party also endings
-- Answers the types of all four, the text of endings, and in one text how many ms ago each member's time was over (0 if
-- it is not); then what view_of does, if the first three are of the right types.
local answer = { 'none', 'none', 'none', 'none', '', '' }
for i, key in ipairs(KEYS) do answer[i] = redis.call('TYPE', key).ok end
if answer[4] == 'string' then answer[5] = redis.call('GET', KEYS[4]) end
if kinds_fit(KEYS[1], KEYS[2], KEYS[3]) then return answer end
local time, late = redis.call('TIME'), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, member in ipairs(members_of(KEYS[1])) do
  table.insert(late, string.format('%.0f', math.max(0, now - member.deadline)))
end
answer[6] = table.concat(late, ' ')
for _, value in ipairs(view_of(KEYS[1], KEYS[2], KEYS[3], '')) do table.insert(answer, value) end
return answer
