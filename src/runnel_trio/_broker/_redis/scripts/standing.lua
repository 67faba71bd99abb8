-- What a processor has of a partition beside its cursor. KEYS lease, quarantine
-- Answers the types of both, then owner, epoch, why it stands still, what is done ahead of the cursor; empty where there is
-- nothing, or something else.
local lease, quarantine = type_of(KEYS[1]), type_of(KEYS[2])
local held = lease == 'hash' and redis.call('HMGET', KEYS[1], 'owner', 'epoch', 'ahead') or {}
local why = quarantine == 'string' and redis.call('GET', KEYS[2])
return { lease, quarantine, held[1] or '', held[2] or '', why or '', held[3] or '' }
