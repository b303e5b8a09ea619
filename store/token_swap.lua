-- Replaces a cached token if it still is what the caller has read.
-- KEYS: the token's. ARGV: old value ("" = nothing), new value, ttl in ms. Answer: 1 replaced, 0 not.
if (redis.call("GET", KEYS[1]) or "") ~= ARGV[1] then
	return 0
end
redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
return 1
