-- The members as they are, without a change. KEYS members, plan, control ; answers what view_of does
return kinds_fit(KEYS[1], KEYS[2], KEYS[3]) or view_of(KEYS[1], KEYS[2], KEYS[3], '')
