-- Gives a lock back if it still is the caller's. KEYS: the lock's. ARGV: what the caller has written there.
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0
