#!lua flags=allow-oom
-- Bring entries of a former layout to a partition. Nothing is done once anybody has owned it, or written there: they are to
-- be there before that. KEYS lease, table, deadlines ; ARGV entries (see _tables.lua) ; answers 1; when nothing was done 0,
-- or 2 for want of memory
local held = redis.call('HMGET', KEYS[1], 'epoch', 'touched')
if held[1] or held[2] then return 0 end
local tables = tables_from(1)
if lack_room(tables) then return 2 end
write_tables(KEYS[1], tables)
return 1
