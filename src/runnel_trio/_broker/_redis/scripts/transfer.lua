-- Delete an entry and store another one elsewhere: both or neither.
-- KEYS log, logs and producers of outputs ; ARGV id, outputs (see _output.lua)
-- Answers COMMITTED, REWOUND (there is no such entry), FULL or SEALED.
if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 'REWOUND' end
local outputs = outputs_from(2)
local refusal = refused(outputs)
if refusal then return refusal end
store(outputs)
redis.call('XDEL', KEYS[1], ARGV[1])
return 'COMMITTED'
