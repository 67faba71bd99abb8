#!lua flags=allow-oom
-- Take a lease (see _rules/_lease.py). The group is made where there is none: somebody has destroyed it, or the server has
-- forgotten it.
-- KEYS log, lease, quarantine, keys (of those that are parked)
-- ARGV group, member, observed owner, observed epoch (both '' for none)
-- Answers {0, owner, epoch}, {2, why it stands still}, or {1, epoch, read_to, clean (0/1), attempts, ahead,
-- how many keys are parked, touched, state…}
local log, lease, group_name, member = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local parked = redis.call('HLEN', KEYS[4])  -- of another type it says so before anything is written
local held = redis.call('HMGET', lease, 'owner', 'epoch', 'read_to', 'attempts', 'unclean', 'entries_read', 'ahead', 'touched')
local owner, epoch = held[1] or '', held[2] or '0'
if owner ~= '' and owner ~= member and not (owner == ARGV[3] and epoch == ARGV[4]) then
  return {0, owner, epoch}
end
-- Also where it stands still: what its processor has not read must not be trimmed meanwhile.
ensure_group(log, group_name, held[6])
local why = redis.call('GET', KEYS[3])
if why then return {2, why} end
local now = redis.call('TIME')
epoch = string.format('%.0f', math.max(tonumber(epoch) + 1, now[1] * 1000000 + now[2]))

-- Said again by the same member, when an answer was lost, it must not look clean.
local unclean = (owner == member and held[5] == '1') or (owner ~= '' and owner ~= member)
redis.call('HSET', lease, 'owner', member, 'epoch', epoch, 'commit', 0, 'unclean', unclean and '1' or '0')
local answer = state_of(log, group_of(log, group_name))
table.insert(answer, 1, held[8] or '0')
table.insert(answer, 1, parked)
table.insert(answer, 1, held[7] or '')
table.insert(answer, 1, held[4] or '')
table.insert(answer, 1, unclean and 0 or 1)
table.insert(answer, 1, held[3] or '0-0')
table.insert(answer, 1, epoch)
table.insert(answer, 1, 1)
return answer
