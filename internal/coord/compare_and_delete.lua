-- Deletes a lock, a lease or a claim if the caller still holds it.
-- KEYS: the lock. ARGV: the value that the caller wrote there.
-- Reply: 1 if released, else 0.
if redis.call("GET", KEYS[1]) == ARGV[1] then
	return redis.call("DEL", KEYS[1])
end
return 0
