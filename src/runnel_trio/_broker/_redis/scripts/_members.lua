-- Members are fields "m:<id>" of one hash: "<deadline ms> <beat> <place> <what it is>"; beside them the generation,
-- which rises with each change, and the last place given. All by the server's clock.
local function members_of(key)
  local flat, members = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    local id = string.match(flat[i], '^m:(.*)$')
    if id then
      local deadline, beat, place = string.match(flat[i + 1], '^(%d+) (%d+) (%d+) ')
      table.insert(members, { id = id, deadline = tonumber(deadline), beat = tonumber(beat), place = tonumber(place) })
    end
  end
  table.sort(members, function(a, b) return a.place < b.place end)
  return members
end
