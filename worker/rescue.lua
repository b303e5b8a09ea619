-- Gives tasks whose worker is dead back to the head of their queue, in the layout of asynq v0.26.0
-- (internal/rdb/rdb.go:227 dequeueCmd, :486 requeueCmd; internal/base/base.go:106-232).
-- A living worker writes a later end of its leases every few seconds. That end is a moment of its own clock, so it is first
-- of all a mark: how long it has stayed the same is measured by the clock of this server, from the first look at it.
-- KEYS: lease, active, pending, and a hash: what was seen last of each lease, "mark since".
-- ARGV: task key prefix, how many at most, ms without a change that mean death, ms that do if the lease has run out as well,
--       ms more that it must have run out, ms that the hash is kept.
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, still, lapsed, grace = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local leases = redis.call("ZRANGE", KEYS[1], 0, -1, "WITHSCORES")
local flat, seen = redis.call("HGETALL", KEYS[4]), {}
for i = 1, #flat, 2 do
	seen[flat[i]] = flat[i + 1]
end

local function rescue(id)
	redis.call("ZREM", KEYS[1], id)
	local held = redis.call("LREM", KEYS[2], 0, id)
	local key = ARGV[1] .. id
	if held == 0 or redis.call("EXISTS", key) == 0 then
		return 0
	end
	redis.call("HSET", key, "state", "pending", "pending_since", clock[1] .. string.format("%06d", clock[2]) .. "000")
	redis.call("RPUSH", KEYS[3], id)
	return 1
end

local rescued, changed = 0, false
for i = 1, #leases, 2 do
	local id, mark = leases[i], leases[i + 1]
	local before, since = string.match(seen[id] or "", "^(%S+) (%d+)$")
	if before ~= mark then
		redis.call("HSET", KEYS[4], id, mark .. " " .. string.format("%.0f", now))
		changed = true
		seen[id] = nil
	else
		local same, out = now - tonumber(since), now - tonumber(mark) * 1000 > grace
		if (same >= still or (out and same >= lapsed)) and rescued < most then
			rescued = rescued + rescue(id)
		else
			seen[id] = nil
		end
	end
end
for id in pairs(seen) do -- what is left of it has no lease any more
	redis.call("HDEL", KEYS[4], id)
end
if changed then
	redis.call("PEXPIRE", KEYS[4], ARGV[6])
end
return rescued
