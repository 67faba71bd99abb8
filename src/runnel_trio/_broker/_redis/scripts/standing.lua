-- What a processor has in a partition beside its cursor. KEYS lease, quarantine
-- Answers the types of both, then owner, epoch, why the partition stands still, and what is done ahead of the cursor; a
-- value is empty if its key does not exist or is of another type.
local lease, quarantine = type_of(KEYS[1]), type_of(KEYS[2])
local held = lease == 'hash' and redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ahead') or {}
local why = quarantine == 'string' and redis.call('GET', KEYS[2])
return { lease, quarantine, held[1] or '', held[2] or '', why or '', held[3] or '' }
