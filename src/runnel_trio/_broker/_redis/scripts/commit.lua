#!lua flags=allow-oom
-- Move a cursor, and store what goes with it: see _rules/_commit.py, which has the same rule and says what each guard is
-- for. (allow-oom: the server would let XGROUP SETID pass and then what follows it; the flag says it outright.)
-- KEYS log, lease, keys and parked if any key's list changes, outbox if anything goes there, tables and their deadlines,
-- logs and producers of outputs
-- ARGV group, owner, epoch, number, previous, last, entries_read (-1 unknown), read_to, ahead ('' as it is, '-' nothing is
-- any more), highest id ahead, touched ('' there are no tables), changes of parked keys (see _parked.lua), number of
-- records for the outbox, how many it may have, its records (stream, hash and entry), tables (see _tables.lua), outputs
-- (see _output.lua)
-- Answers COMMITTED (also when an earlier call did it), FENCED, REWOUND, TOUCHED, CHANGED, FULL or SEALED.
local log, lease, number, ahead = KEYS[1], KEYS[2], tonumber(ARGV[4]), ARGV[9]
local held = redis.call('HMGET', lease, 'owner', 'epoch', 'commit', 'touched')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 'FENCED' end
local made = tonumber(held[3] or '0')
if made == number then return 'COMMITTED' end
if made ~= number - 1 then return 'REWOUND' end
local groups = redis.pcall('XINFO', 'GROUPS', log)
local group = not groups.err and group_in(groups, ARGV[1])
if not group then return 'REWOUND' end
if group['last-delivered-id'] ~= ARGV[5] then return 'REWOUND' end
-- What the log never had was lost in a failover: read and lag make all that was ever added, where they are known. Where
-- not, or that is too few, the log is asked.
local count, read, lag = tonumber(ARGV[7]), group['entries-read'], group['lag']
if count < 0 or not read or not lag or read + lag < count then
  local info = as_table(redis.call('XINFO', 'STREAM', log))
  if info['entries-added'] < count then return 'REWOUND' end
  if count < 0 and id_before(info['last-generated-id'], ARGV[6]) then return 'REWOUND' end
end
if ARGV[10] ~= '' then
  local info = as_table(redis.call('XINFO', 'STREAM', log))
  if id_before(info['last-generated-id'], ARGV[10]) then return 'REWOUND' end
end
if ARGV[11] ~= '' and (held[4] or '0') ~= ARGV[11] then return 'TOUCHED' end
local changes, rest = changes_from(12)
if #changes > 0 and not are_as_seen(KEYS[3], KEYS[4], changes) then return 'CHANGED' end
local records, outbox = tonumber(ARGV[rest]), KEYS[#changes > 0 and 5 or 3]
if records > 0 and redis.call('XLEN', outbox) + records > tonumber(ARGV[rest + 1]) then return 'FULL' end
local first_record, last_record = rest + 2, rest + 1 + 3 * records
local tables
tables, rest = tables_from(last_record + 1)
if #tables > 0 and lack_room(tables) then return 'FULL' end
if ARGV[rest] ~= '0' then
  local outputs = outputs_from(rest)
  local refusal = refused(outputs)
  if refusal then return refusal end
  store(outputs)
end
for at = first_record, last_record, 3 do
  redis.call('XADD', outbox, ARGV[3] .. '-*', 'to', ARGV[at], 'hash', ARGV[at + 1], 'entry', ARGV[at + 2])
end
if #changes > 0 then change_parked(KEYS[3], KEYS[4], changes) end
if #tables > 0 then write_tables(lease, tables) end
if count < 0 then
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[6])
else
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[6], 'ENTRIESREAD', count)
end
redis.call('HSET', lease, 'commit', ARGV[4], 'read_to', ARGV[8], 'entries_read', count)
if ahead == '-' then
  redis.call('HDEL', lease, 'ahead')
elseif ahead ~= '' then
  redis.call('HSET', lease, 'ahead', ahead)
end
return 'COMMITTED'
