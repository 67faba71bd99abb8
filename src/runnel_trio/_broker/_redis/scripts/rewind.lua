-- Set a cursor, whoever owns the partition. The owner notices, because its next commit finds the cursor elsewhere. This
-- also lifts a quarantine, and forgets attempts and what was done ahead of the cursor, which belong to its old position.
-- KEYS log, lease, quarantine, tables that are emptied and their deadlines ; ARGV group, start ('$' for the end), dry run
-- (0/1), names of these tables
-- Answers the cursor before ('' if there was none) and now, and the lag before (-1 if it is unknown) and now.
local log, group_name = KEYS[1], ARGV[1]
local is_there = type_of(log) ~= 'none'
local group = is_there and group_of(log, group_name)
redis.call('HGET', KEYS[2], 'attempts')  -- these two refuse a key of another type, before anything is written
redis.call('GET', KEYS[3])
local info = is_there and as_table(redis.call('XINFO', 'STREAM', log))
local added = info and info['entries-added'] or 0
local start = ARGV[2]
local last = info and info['last-generated-id'] or '0-0'
if start == '$' or id_before(last, start) then start = last end  -- a cursor behind the end would skip new entries
local lag, at = 0, start
while info and at do
  local page = redis.call('XRANGE', log, '(' .. at, '+', 'COUNT', 500)
  lag = lag + #page
  at = #page == 500 and page[500][1] or nil
end
local before = { '', -1 }
if group then before = { group['last-delivered-id'], group['entries-read'] and added - group['entries-read'] or -1 } end
if ARGV[3] == '0' then
  if group then
    redis.call('XGROUP', 'SETID', log, group_name, start, 'ENTRIESREAD', added - lag)
  else
    redis.call('XGROUP', 'CREATE', log, group_name, start, 'MKSTREAM', 'ENTRIESREAD', added - lag)
  end
  redis.call('HDEL', KEYS[2], 'attempts')
  -- If the cursor is where the owner left it, the owner would not notice: after -1 its next commit is refused.
  if redis.call('HDEL', KEYS[2], 'ahead') == 1 then redis.call('HSET', KEYS[2], 'commit', -1) end
  redis.call('HSET', KEYS[2], 'entries_read', added - lag)
  redis.call('DEL', KEYS[3])
  for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
  for i = 4, #ARGV do redis.call('HDEL', KEYS[2], 'table:' .. ARGV[i]) end
  -- So that an owner notices who finds its cursor where it left it.
  if #ARGV > 3 then
    local touched = tonumber(redis.call('HGET', KEYS[2], 'touched') or '0') + 1
    redis.call('HSET', KEYS[2], 'touched', string.format('%.0f', touched))
  end
end
return { before[1], start, before[2], lag }
