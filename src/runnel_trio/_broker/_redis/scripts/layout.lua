#!lua flags=allow-oom
-- Take a stream one step further to another layout, if this is the next step.
-- KEYS meta ; ARGV begin, open or finish; the layout; its partition count
-- Answers what is stored then (view_of).
local meta, step, layout = KEYS[1], ARGV[1], tonumber(ARGV[2])
local now, coming, count = layout_of(meta), next_of(meta)
if count_of(meta) == '' then return view_of(meta) end  -- the stream is unknown, or the server has lost it
if step == 'begin' then
  if now + 1 == layout and coming == 0 and not redis.call('HGET', meta, 'draining') then
    redis.call('HSET', meta, 'next', layout .. ' ' .. ARGV[3])
  end
elseif step == 'open' and coming == layout then
  local before, former = redis.call('HGET', meta, 'partition_count'), redis.call('HGET', meta, 'former')
  local known = ' ' .. (former or '') .. ' '
  if not string.find(known, ' ' .. before .. ' ', 1, true) then former = (former and former .. ' ' or '') .. before end
  local draining = now .. ' ' .. before
  redis.call('HSET', meta, 'partition_count', count, 'layout', layout, 'draining', draining, 'former', former)
  redis.call('HDEL', meta, 'next')
elseif step == 'finish' and string.match(redis.call('HGET', meta, 'draining') or '', '^(%d+)') == ARGV[2] then
  redis.call('HDEL', meta, 'draining')
end
return view_of(meta)
