#!lua flags=allow-oom
-- Store which member should own what, if the members are still those that the plan is for, and nobody else was faster.
-- KEYS members, plan, control ; ARGV generation, then the ids of members and their partitions ; answers 1 or 0
local generation = ARGV[1]
if redis.call('HGET', KEYS[1], 'generation') ~= generation then return 0 end
if redis.call('HGET', KEYS[2], 'generation') == generation then return 0 end
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'generation', generation)
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], 'm:' .. ARGV[i], ARGV[i + 1]) end
tell(KEYS[3], 'changed', 'planned')
return 1
