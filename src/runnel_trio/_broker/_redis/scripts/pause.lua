#!lua flags=allow-oom
-- Make a partition stand still, whoever owns it. KEYS quarantine ; ARGV why
-- Answers 1, or 0 if it already stands still for another reason.
redis.call('SET', KEYS[1], ARGV[1], 'NX')
return redis.call('GET', KEYS[1]) == ARGV[1] and 1 or 0
