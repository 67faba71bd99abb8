#!lua flags=allow-oom
-- Move a cursor, if the lease and the cursor are as the committer believes, and store what goes elsewhere with it. Both
-- guards are needed: a late commit of the same owner passes the first, a commit of an owner that was replaced can pass
-- the second. (allow-oom: the server would let XGROUP SETID pass and then what follows it; the flag says it outright.)
-- KEYS log, lease, logs and producers of outputs
-- ARGV group, owner, epoch, previous, last, entries_read (-1 unknown), read_to, outputs (see _output.lua)
-- Answers COMMITTED (also when an earlier call did it), FENCED, REWOUND, FULL or SEALED.
local log, lease = KEYS[1], KEYS[2]
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 'FENCED' end
local groups = redis.pcall('XINFO', 'GROUPS', log)
local group = not groups.err and group_in(groups, ARGV[1])
if not group then return 'REWOUND' end
local cursor = group['last-delivered-id']
if cursor == ARGV[5] then return 'COMMITTED' end
if cursor ~= ARGV[4] then return 'REWOUND' end
-- What the log never had was lost in a failover, and this commit with it: it must not pass over what was sent since.
-- (Read and lag make all that was ever added, where they are known. Where not, or that is too few, the log is asked.)
local count, read, lag = tonumber(ARGV[6]), group['entries-read'], group['lag']
if count < 0 or not read or not lag or read + lag < count then
  local info = as_table(redis.call('XINFO', 'STREAM', log))
  if info['entries-added'] < count then return 'REWOUND' end
  if count < 0 and id_before(info['last-generated-id'], ARGV[5]) then return 'REWOUND' end
end
if ARGV[8] ~= '0' then
  local outputs = outputs_from(8)
  local refusal = refused(outputs)
  if refusal then return refusal end
  store(outputs)
end
if ARGV[6] == '-1' then
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5])
else
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5], 'ENTRIESREAD', ARGV[6])
end
redis.call('HSET', lease, 'read_to', ARGV[7], 'entries_read', ARGV[6])
return 'COMMITTED'
