#!lua flags=allow-oom
-- Move a cursor, if the lease and the cursor are as the committer believes. Both guards are needed: a late commit of
-- the same owner passes the first, a commit of an owner that was replaced can pass the second.
-- (allow-oom: the server would let XGROUP SETID pass and then what follows it; the flag says it outright.)
-- KEYS log, lease
-- ARGV group, owner, epoch, previous, last, entries_read (-1 unknown), read_to
-- Answers COMMITTED (also when an earlier call did it), FENCED or REWOUND.
local log, lease = KEYS[1], KEYS[2]
local held = redis.call('HMGET', lease, 'owner', 'epoch')
if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 'FENCED' end
local group = type_of(log) == 'stream' and group_of(log, ARGV[1])
if not group then return 'REWOUND' end
local cursor = group['last-delivered-id']
if cursor == ARGV[5] then return 'COMMITTED' end
if cursor ~= ARGV[4] then return 'REWOUND' end
if ARGV[6] == '-1' then
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5])
else
  redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5], 'ENTRIESREAD', ARGV[6])
end
redis.call('HSET', lease, 'read_to', ARGV[7])
return 'COMMITTED'
