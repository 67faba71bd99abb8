-- What a processor has in a partition beside its cursor. KEYS lease, quarantine, keys, parked, outbox
-- Answers the types of all five; owner, epoch, why the partition stands still, and what is done ahead of the cursor; how
-- many keys are parked, with how many entries. A value is empty or 0 if its key does not exist or is of another type.
local kinds = {}
for i, key in ipairs(KEYS) do kinds[i] = type_of(key) end
local held = kinds[1] == 'hash' and redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ahead') or {}
local why = kinds[2] == 'string' and redis.call('GET', KEYS[2])
local keys = kinds[3] == 'hash' and redis.call('HLEN', KEYS[3]) or 0
local parked = kinds[4] == 'hash' and redis.call('HLEN', KEYS[4]) or 0
return {
  kinds[1], kinds[2], kinds[3], kinds[4], kinds[5], held[1] or '', held[2] or '', why or '', held[3] or '', keys, parked,
}
