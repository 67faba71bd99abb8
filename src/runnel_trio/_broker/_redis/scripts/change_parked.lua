#!lua flags=allow-oom
-- Change the lists of parked keys, for an operator, or while they move to another layout. Where a lease is given, nothing
-- is done once anybody has had it: the keys are to be there before that.
-- KEYS keys, parked, lease if any ; ARGV changes (see _parked.lua) ; answers 1, or 0 when nothing was done
local changes = changes_from(1)
if KEYS[3] and redis.call('HEXISTS', KEYS[3], 'epoch') == 1 then return 0 end
if not are_as_seen(KEYS[1], KEYS[2], changes) then return 0 end
change_parked(KEYS[1], KEYS[2], changes)
return 1
