-- Returns the tasks of dead workers to the head of their queue, in the layout of asynq v0.26.0
-- (internal/rdb/rdb.go:227 dequeueCmd, :486 requeueCmd; internal/base/base.go:106-232).
--
-- A living worker moves the expiry of its leases every few seconds. The expiry is a time of the
-- worker's clock, so the script uses it mainly as a mark. It measures by Redis's clock how long
-- the mark has stayed unchanged since the script first saw it.
--
-- KEYS[1]: the sorted set of leases.
-- KEYS[2]: the list of active tasks.
-- KEYS[3]: the list of pending tasks.
-- KEYS[4]: a hash by task id of what was last seen of each lease: "mark since" (since in Unix ms).
-- ARGV[1]: the prefix of task keys.
-- ARGV[2]: the maximum number of tasks to rescue.
-- ARGV[3]: a worker is dead if its lease is unchanged for this long (ms).
-- ARGV[4]: the same, for a lease that has also expired (ms).
-- ARGV[5]: a lease counts as expired this long after its expiry (ms).
-- ARGV[6]: how long the hash is retained (ms).
-- Returns the number of rescued tasks.
local clock = redis.call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local most, grace = tonumber(ARGV[2]), tonumber(ARGV[5])
local dead_after, lapsed_for = tonumber(ARGV[3]), tonumber(ARGV[4])
local leases = redis.call("ZRANGE", KEYS[1], 0, -1, "WITHSCORES")
local flat, seen = redis.call("HGETALL", KEYS[4]), {}
for i = 1, #flat, 2 do
	seen[flat[i]] = flat[i + 1]
end

-- rescue returns 1 if it returned the task to its queue, and 0 if the task is not
-- active or is gone.
local function rescue(id)
	redis.call("ZREM", KEYS[1], id)
	local removed = redis.call("LREM", KEYS[2], 0, id)
	local key = ARGV[1] .. id
	if removed == 0 or redis.call("EXISTS", key) == 0 then
		return 0
	end
	local nanoseconds = clock[1] .. string.format("%06d", clock[2]) .. "000"
	redis.call("HSET", key, "state", "pending", "pending_since", nanoseconds)
	redis.call("RPUSH", KEYS[3], id)
	return 1
end

local rescued, changed = 0, false
for i = 1, #leases, 2 do
	-- After this loop, seen holds only entries to delete: those without a lease, and those
	-- of rescued tasks.
	local id, mark = leases[i], leases[i + 1]
	local before, since = string.match(seen[id] or "", "^(%S+) (%d+)$")
	if before ~= mark then
		redis.call("HSET", KEYS[4], id, mark .. " " .. string.format("%.0f", now))
		changed = true
		seen[id] = nil
	else
		local same, out = now - tonumber(since), now - tonumber(mark) * 1000 > grace
		if (same >= dead_after or (out and same >= lapsed_for)) and rescued < most then
			rescued = rescued + rescue(id)
		else
			seen[id] = nil
		end
	end
end
for id in pairs(seen) do
	redis.call("HDEL", KEYS[4], id)
end
if changed then
	redis.call("PEXPIRE", KEYS[4], ARGV[6])
end
return rescued
