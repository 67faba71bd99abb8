-- The hash with what is known about a stream; see _rules/_layout.py. `next` and `draining` are "<layout> <count>".
local function view_of(meta)
  return redis.call('HMGET', meta, 'partition_count', 'record', 'hasher', 'layout', 'next', 'draining', 'former')
end
local function count_of(meta) return redis.call('HGET', meta, 'partition_count') or '' end
local function layout_of(meta) return tonumber(redis.call('HGET', meta, 'layout') or '1') end
local function next_of(meta)
  local layout, count = string.match(redis.call('HGET', meta, 'next') or '', '^(%d+) (%d+)$')
  return tonumber(layout or '0'), count
end
