#!lua flags=allow-oom
-- Delete a party: its members, its plan and its news. KEYS members, plan, control ; answers how many keys there were
return kinds_fit(KEYS[1], KEYS[2], KEYS[3]) or redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
