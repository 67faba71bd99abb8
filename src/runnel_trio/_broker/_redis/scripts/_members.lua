-- Each member is a field "m:<id>" of one hash: "<deadline ms> <beat> <joined as> <expiry ms> <leaving 0/1> <about>".
-- Beside the members, the hash has "generation", which rises with each change, and "places", the number of the last
-- join. All times are by the server's clock. _rules/_membership.py has the rule.
local function members_of(key)
  local flat, members = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    local id = string.match(flat[i], '^m:(.*)$')
    if id then
      local deadline, beat, joined_as, expiry, leaving, about =
        string.match(flat[i + 1], '^(%d+) (%d+) (%d+) (%d+) (%d) (.*)$')
      table.insert(members, {
        id = id, deadline = tonumber(deadline), beat = tonumber(beat), joined_as = tonumber(joined_as),
        expiry = tonumber(expiry), leaving = leaving, about = about,
      })
    end
  end
  table.sort(members, function(a, b) return a.joined_as < b.joined_as end)
  return members
end
local function kinds_fit(members, plan, control)
  for key, kind in pairs({ [members] = 'hash', [plan] = 'hash', [control] = 'stream' }) do
    local there = redis.call('TYPE', key).ok
    if there ~= kind and there ~= 'none' then return redis.error_reply('WRONGTYPE') end
  end
end
-- News is kept only briefly: a member that has missed some learns of the change with its next heartbeat.
local function tell(control, what, value)
  redis.call('XADD', control, 'MAXLEN', '~', 256, '*', what, value)
end
local function changed(members, control, why)
  redis.call('HINCRBY', members, 'generation', 1)
  tell(control, 'changed', why)
end
-- The generation, the number of my join, the plan's generation, the id of the last news, the number of members, five
-- values for each member, then the plan.
local function view_of(members, plan, control, me)
  local all, mine = members_of(members), 0
  for _, member in ipairs(all) do if member.id == me then mine = member.joined_as end end
  local news = '0-0'
  if redis.call('EXISTS', control) == 1 then
    local info = redis.call('XINFO', 'STREAM', control)
    for i = 1, #info, 2 do if info[i] == 'last-generated-id' then news = info[i + 1] end end
  end
  local answer = {
    tonumber(redis.call('HGET', members, 'generation') or '0'), mine,
    tonumber(redis.call('HGET', plan, 'generation') or '0'), news, #all,
  }
  for _, member in ipairs(all) do
    for _, value in ipairs({ member.id, member.beat, member.expiry, member.leaving, member.about }) do
      table.insert(answer, value)
    end
  end
  local flat = redis.call('HGETALL', plan)
  for i = 1, #flat, 2 do
    local id = string.match(flat[i], '^m:(.*)$')
    if id then
      table.insert(answer, id)
      table.insert(answer, flat[i + 1])
    end
  end
  return answer
end
