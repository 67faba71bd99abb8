#!lua flags=allow-oom
-- The state of a group and its log; empty if there is no such group. KEYS log, lease ; ARGV group
if type_of(KEYS[1]) == 'none' then return {} end
local group = group_of(KEYS[1], ARGV[1])
if not group then return {} end
return state_of(KEYS[1], group)
