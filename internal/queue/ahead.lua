-- Reads past the tasks of an app that uses its whole share of the slots, and moves the tasks of
-- other apps to the head of the queue. Tasks of the app that have yielded their slots to others
-- return to the head, too. The layout is that of asynq v0.26.0 (internal/rdb/rdb.go:227 dequeueCmd,
-- :772 retryCmd, :960 forwardCmd). The head of the list is its right end.
--
-- KEYS    pending, retry
-- ARGV    task key prefix, appid, how many tasks of others may go first, how many tasks to read,
--         the last task that an earlier scan has read, then the ids to bring back, oldest first
-- Returns: how many tasks of others are first, the last task that was read, how many tasks behind
--         it were not read, and the ids that are back
local pending, retry = KEYS[1], KEYS[2]
local prefix, app, mark = ARGV[1], ARGV[2], ARGV[5]
local most, reads = tonumber(ARGV[3]), tonumber(ARGV[4])
local call = redis.call

-- Reports whether a task belongs to another app. A task without an appid, or that does not
-- exist, stays in its place.
local function other(id)
	local message = call('HGET', prefix .. id, 'msg')
	local whose = message and string.match(message, '"appid"%s*:%s*"([^"\\]*)"')
	return whose and whose ~= app
end

-- Take the tasks of others that are at the head already. The script puts them back in its last
-- step, in front of the tasks that are moved now.
local first = {}
while #first < math.max(most, 8) do
	local id = call('LINDEX', pending, -1)
	if not id or not other(id) then
		break
	end
	first[#first + 1] = call('RPOP', pending)
end
local unseen = call('LLEN', pending)

-- Return the tasks that have yielded, unless they have come due by themselves. The last id
-- is pushed first, so that the oldest ends up at the head.
local back, now = {}, call('TIME')
for i = #ARGV, 6, -1 do
	if call('ZREM', retry, ARGV[i]) == 1 then
		local nanoseconds = now[1] .. string.format('%06d', now[2]) .. '000'
		call('HSET', prefix .. ARGV[i], 'state', 'pending', 'pending_since', nanoseconds)
		call('RPUSH', pending, ARGV[i])
		back[#back + 1] = ARGV[i]
	end
end

-- Go on behind the last task that was read. The first LPOS searches from the left end, where
-- new tasks come in. The second one searches from the right end.
if mark ~= '' then
	-- A bounded search first: the mark is near the left end once the backlog has been read.
	unseen = call('LPOS', pending, mark, 'MAXLEN', 2000)
		or call('LPOS', pending, mark, 'RANK', -1) or unseen
end
-- Read on towards the left end for tasks of others.
local found = {}
if unseen > 0 then
	local ids = call('LRANGE', pending, math.max(0, unseen - reads), unseen - 1)
	for i = #ids, 1, -1 do
		if #first + #found >= most then
			break
		end
		if other(ids[i]) then
			found[#found + 1] = ids[i]
		else
			mark = ids[i]
		end
		unseen = unseen - 1
	end
end
-- Move what was found to the head, then the tasks that were there before.
for i = #found, 1, -1 do
	call('LREM', pending, 1, found[i])
	call('RPUSH', pending, found[i])
end
for i = #first, 1, -1 do
	call('RPUSH', pending, first[i])
end
return {#first + #found, mark, unseen, unpack(back)}
