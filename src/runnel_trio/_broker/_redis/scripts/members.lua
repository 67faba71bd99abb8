-- The members as they are. KEYS members, plan, control ; answers as view_of.
return kinds_fit(KEYS[1], KEYS[2], KEYS[3]) or view_of(KEYS[1], KEYS[2], KEYS[3], '')
