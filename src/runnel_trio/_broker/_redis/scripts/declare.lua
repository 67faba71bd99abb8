#!lua flags=allow-oom
-- Store what must never change about a stream, unless it is stored already.
-- KEYS meta ; ARGV partition_count, record, hasher, layout, then what may change, for people to see: partition_size,
-- overflow
-- Answers what is stored then (view_of).
local meta, layout = KEYS[1], tonumber(ARGV[4])
local coming = next_of(meta)
if count_of(meta) == '' then
  local drained = string.match(redis.call('HGET', meta, 'draining') or '', '^(%d+)')
  if layout < math.max(layout_of(meta), drained and drained + 1 or 1) then return view_of(meta) end  -- not its count
  redis.call('HSET', meta, 'partition_count', ARGV[1])
  if layout > 1 then redis.call('HSET', meta, 'layout', layout) end
  if coming > 0 and coming <= layout then redis.call('HDEL', meta, 'next') end
elseif layout > layout_of(meta) and layout > coming then  -- the server has lost this change
  redis.call('HSET', meta, 'next', ARGV[4] .. ' ' .. ARGV[1])
end
for i, field in ipairs({ 'record', 'hasher' }) do
  if (redis.call('HGET', meta, field) or '') == '' then redis.call('HSET', meta, field, ARGV[i + 1]) end
end
-- Every worker that starts declares its streams: a full server, which workers are to drain, must not refuse that.
redis.call('HSET', meta, 'partition_size', ARGV[5], 'overflow', ARGV[6])
return view_of(meta)
