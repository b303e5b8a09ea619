-- Replaces a cached token if it still has the value that the caller read.
-- KEYS: the token. ARGV: old value ("" = nothing), new value, ttl in ms (0 = no expiry).
-- Reply: 1 if replaced, else 0.
if (redis.call("GET", KEYS[1]) or "") ~= ARGV[1] then
	return 0
end
if ARGV[3] == "0" then
	redis.call("SET", KEYS[1], ARGV[2])
else
	redis.call("SET", KEYS[1], ARGV[2], "PX", ARGV[3])
end
return 1
