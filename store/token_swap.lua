-- Replaces a cached token if it still is what the caller has read.
-- KEYS: the token's. ARGV: old value ("" = nothing), new value, ttl in ms (0 = for good). Answer: 1 replaced, 0 not.
if (redis.call("GET", KEYS[1]) or "") ~= ARGV[1] then
	return 0
end
if ARGV[3] == "0" then
	redis.call("SET", KEYS[1], ARGV[2])
else
	redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
end
return 1
