#!lua flags=allow-oom
-- The names of the groups on a log. KEYS log
local names = {}
if type_of(KEYS[1]) ~= 'none' then
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do table.insert(names, as_table(flat)['name']) end
end
return names
