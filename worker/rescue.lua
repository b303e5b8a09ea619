-- Gives tasks whose lease has ended back to the head of their queue, in the layout of asynq v0.26.0
-- (internal/rdb/rdb.go:227 dequeueCmd, :486 requeueCmd; internal/base/base.go:106-232).
-- KEYS: lease, active, pending. ARGV: task key prefix, grace in seconds, how many at most.
local now = redis.call("TIME")
local ids = redis.call("ZRANGEBYSCORE", KEYS[1], "-inf", tonumber(now[1]) - tonumber(ARGV[2]), "LIMIT", 0, ARGV[3])
local rescued = 0
for _, id in ipairs(ids) do
	redis.call("ZREM", KEYS[1], id)
	local held = redis.call("LREM", KEYS[2], 0, id)
	local key = ARGV[1] .. id
	if held > 0 and redis.call("EXISTS", key) == 1 then
		redis.call("HSET", key, "state", "pending", "pending_since", now[1] .. string.format("%06d", now[2]) .. "000")
		redis.call("RPUSH", KEYS[3], id)
		rescued = rescued + 1
	end
end
return rescued
