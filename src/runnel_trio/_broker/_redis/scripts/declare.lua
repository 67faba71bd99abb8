#!lua flags=allow-oom
-- Fix what must never change about a stream, if nobody has yet; answer what holds (view_of).
-- KEYS meta ; ARGV partition_count, record, hasher, layout, then what may change, for people who look: partition_size,
-- overflow
local meta, layout = KEYS[1], tonumber(ARGV[4])
local refusal = unfit(meta)
if refusal then return refusal end
if redis.call('TYPE', meta).ok == 'none' then
  redis.call('HSET', meta, 'partition_count', ARGV[1], 'record', ARGV[2], 'hasher', ARGV[3])
  if layout > 1 then redis.call('HSET', meta, 'layout', layout) end
elseif layout > layout_of(meta) and layout > next_of(meta) then  -- the server has forgotten it
  redis.call('HSET', meta, 'next', ARGV[4] .. ' ' .. ARGV[1])
end
-- Every worker that starts declares: a full server, which is to be drained, must not refuse that.
redis.call('HSET', meta, 'partition_size', ARGV[5], 'overflow', ARGV[6])
return view_of(meta)
