-- Stream ids are compared as text, because 64-bit numbers do not fit into Lua's numbers.
local function number_before(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
local function split(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return ms, seq
end
local function id_before(a, b)
  local a_ms, a_seq = split(a)
  local b_ms, b_seq = split(b)
  if a_ms ~= b_ms then return number_before(a_ms, b_ms) end
  return number_before(a_seq, b_seq)
end
