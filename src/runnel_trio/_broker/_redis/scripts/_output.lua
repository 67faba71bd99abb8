-- Entries that are stored elsewhere in the same step. ARGV from `at`: the number of outputs; then for each output the
-- index of its log's key (the next key is that of its producers), its layout, size, overflow, width, field names, number
-- of entries, and their values. `refused` checks all outputs before `store` stores any.
local function outputs_from(at)
  local outputs = {}
  local count = tonumber(ARGV[at])
  at = at + 1
  for _ = 1, count do
    local width, entries, index = tonumber(ARGV[at + 4]), 0, tonumber(ARGV[at])
    local output = {
      key = KEYS[index], producers = KEYS[index + 1], layout = ARGV[at + 1],
      size = tonumber(ARGV[at + 2]), overflow = ARGV[at + 3], rows = {},
    }
    entries = tonumber(ARGV[at + 5 + width])
    local values = at + 6 + width
    for row = 0, entries - 1 do
      local fields = {}
      for field = 0, width - 1 do
        table.insert(fields, ARGV[at + 5 + field])
        table.insert(fields, ARGV[values + row * width + field])
      end
      table.insert(output.rows, fields)
    end
    table.insert(outputs, output)
    at = values + entries * width
  end
  return outputs
end
local function refused(outputs)
  local wanted = {}
  for _, output in ipairs(outputs) do
    redis.call('XLEN', output.key)  -- this refuses a key of another type, before anything is written
    if (redis.call('HGET', output.producers, 'layout') or '1') ~= output.layout then return 'SEALED' end
    if output.overflow ~= 'trim' then
      wanted[output.key] = (wanted[output.key] or 0) + #output.rows
      if room_in(output.key, output.size, wanted[output.key]) < wanted[output.key] then return 'FULL' end
    end
  end
end
local function store(outputs)
  for _, output in ipairs(outputs) do
    for _, fields in ipairs(output.rows) do redis.call('XADD', output.key, '*', unpack(fields)) end
    if output.overflow == 'trim' then redis.call('XTRIM', output.key, 'MAXLEN', '~', output.size) end
  end
end
