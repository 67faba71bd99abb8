#!lua flags=allow-oom
-- Bring entries of a former layout to a partition. Nothing is done once anybody has owned it, or written there: they are to
-- be there before that. KEYS lease, table, deadlines ; ARGV entries (see _tables.lua) ; answers 1, or 0 when nothing was done
if redis.call('HEXISTS', KEYS[1], 'epoch') == 1 or redis.call('HEXISTS', KEYS[1], 'touched') == 1 then return 0 end
local tables = tables_from(1)
if lack_room(tables) then return 2 end
write_tables(KEYS[1], tables)
return 1
