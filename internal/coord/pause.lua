-- Writes one field of the hash of pauses if it still has the value that the caller read.
-- KEYS: the hash. ARGV: field, old value ("" = none), new value.
-- Reply: 1 if written, else 0.
if (redis.call("HGET", KEYS[1], ARGV[1]) or "") ~= ARGV[2] then
	return 0
end
redis.call("HSET", KEYS[1], ARGV[1], ARGV[3])
return 1
