-- Lift a quarantine, if it is still the one that was seen; acknowledge what failed if so asked.
-- Where others stand between those that failed, they are added to what is done ahead of the cursor, by a caller who has
-- seen both; else the cursor is set behind them.
-- KEYS log, quarantine, lease, logs and producers of outputs
-- ARGV group, why, skip (0/1), first, last, cursor and `ahead` as they were seen, `ahead` then ('' the cursor is set), outputs
-- (see _output.lua)
-- Answers COMMITTED, FENCED (another quarantine, or none), REWOUND (the cursor is elsewhere), FULL or SEALED.
local log = KEYS[1]
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 'FENCED' end
if ARGV[3] == '1' then
  local group = type_of(log) ~= 'none' and group_of(log, ARGV[1])
  if not group then return 'REWOUND' end
  local cursor, ahead = group['last-delivered-id'], ARGV[8]
  local failed = ahead == '' and redis.call('XRANGE', log, '(' .. cursor, ARGV[5])
  if failed and (#failed == 0 or failed[1][1] ~= ARGV[4]) then return 'REWOUND' end
  if not failed and (cursor ~= ARGV[6] or (redis.call('HGET', KEYS[3], 'ahead') or '') ~= ARGV[7]) then
    return 'REWOUND'
  end
  local outputs = outputs_from(9)
  local refusal = refused(outputs)
  if refusal then return refusal end
  store(outputs)
  local read = group['entries-read']
  if not failed then
    redis.call('HSET', KEYS[3], 'ahead', ahead)
  elseif read then
    redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5], 'ENTRIESREAD', read + #failed)
  else
    redis.call('XGROUP', 'SETID', log, ARGV[1], ARGV[5])
  end
end
redis.call('DEL', KEYS[2])
return 'COMMITTED'
