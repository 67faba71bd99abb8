#!lua flags=allow-oom
-- Change entries of a table from outside. An owner that has read them before notices with its next commit. Said again, when
-- an answer was lost, it does nothing: its number is among those of the last few.
-- KEYS lease, producers, table, deadlines ; ARGV number, layout, changes (see _tables.lua) ; answers COMMITTED, FULL or SEALED
local held = redis.call('HMGET', KEYS[1], 'touched', 'writes')
local layout = tonumber(redis.call('HGET', KEYS[2], 'layout') or '1')
local tables = tables_from(3)
local writes = held[2] or ''
if string.find(' ' .. writes .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then return 'COMMITTED' end
if layout > tonumber(ARGV[2]) then return 'SEALED' end
if lack_room(tables) then return 'FULL' end
write_tables(KEYS[1], tables)
local kept = string.sub(ARGV[1] .. ' ' .. writes, 1, 1000)
redis.call('HSET', KEYS[1], 'touched', string.format('%.0f', tonumber(held[1] or '0') + 1), 'writes', kept)
return 'COMMITTED'
