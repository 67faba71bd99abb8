-- Changes of the lists of parked keys: see _rules/_parked.py. ARGV from `at`: the number of changes; for each the key, the
-- head that was seen ('' none), the head now ('' none: the key is free), the facts ('' as they are), the number of entries
-- that are added, and these. First all are judged, then all made. Answers the changes, and where they end.
local function changes_from(at)
  local changes, count = {}, tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    local change = { key = ARGV[at], seen = ARGV[at + 1], now = ARGV[at + 2], facts = ARGV[at + 3], entries = {} }
    local entries = tonumber(ARGV[at + 4])
    for entry = 1, entries do change.entries[entry] = ARGV[at + 4 + entry] end
    table.insert(changes, change)
    at = at + 5 + entries
  end
  return changes, at
end
local function head_and_facts(value)
  local head, facts = string.match(value or '', '^(%d+ %d+ %d+ %d+ %d+ %d+) (.*)$')
  return head or '', facts or ''
end
local function are_as_seen(keys, parked, changes)
  redis.call('HLEN', parked)  -- of another type it says so before anything is written
  for _, change in ipairs(changes) do
    if head_and_facts(redis.call('HGET', keys, change.key)) ~= change.seen then return false end
  end
  return true
end
local function change_parked(keys, parked, changes)
  for _, change in ipairs(changes) do
    local key = change.key
    local _, facts = head_and_facts(redis.call('HGET', keys, key))
    local first, last = string.match(change.seen, '^(%d+) (%d+)')
    first, last = tonumber(first or 1), tonumber(last or 0)
    local kept = tonumber(string.match(change.now, '^(%d+)') or last + 1)
    for number = first, kept - 1 do redis.call('HDEL', parked, string.format('%.0f:', number) .. key) end
    for entry, packed in ipairs(change.entries) do
      redis.call('HSET', parked, string.format('%.0f:', last + entry) .. key, packed)
    end
    if change.now == '' then
      redis.call('HDEL', keys, key)
    else
      redis.call('HSET', keys, key, change.now .. ' ' .. (change.facts ~= '' and change.facts or facts))
    end
  end
end
