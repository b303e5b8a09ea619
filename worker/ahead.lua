-- Looks past the tasks of an app that holds its share of the slots, for those of other apps, and lets these go first. Tasks of
-- the app that have made way for others go back to the head of the queue. The layout is that of asynq v0.26.0
-- (internal/rdb/rdb.go:227 dequeueCmd, :772 retryCmd, :960 forwardCmd): the head of the list is its right end.
--
-- KEYS    pending, retry
-- ARGV    task key prefix, appid, how many of others may go first, how many are looked at, the last one that was looked at
--         before, then the ids that go back, the oldest first
-- Answer: how many of others are first, the last one that was looked at, how many behind it were not, and the ids that
--         are back
local pending, retry = KEYS[1], KEYS[2]
local prefix, app, most, looks, mark = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local call = redis.call

-- A task of another app: what has no appid, or is not there, is let alone.
local function other(id)
	local message = call('HGET', prefix .. id, 'msg')
	local whose = message and string.match(message, '"appid"%s*:%s*"([^"\\]*)"')
	return whose and whose ~= app
end

-- Those of others that are at the head are put back there at the end, in front of what comes now.
local first = {}
while #first < math.max(most, 8) do
	local id = call('LINDEX', pending, -1)
	if not id or not other(id) then
		break
	end
	first[#first + 1] = call('RPOP', pending)
end
local unseen = call('LLEN', pending)

local back, now = {}, call('TIME')
for i = #ARGV, 6, -1 do
	if call('ZREM', retry, ARGV[i]) == 1 then
		call('HSET', prefix .. ARGV[i], 'state', 'pending', 'pending_since', now[1] .. string.format('%06d', now[2]) .. '000')
		call('RPUSH', pending, ARGV[i])
		back[#back + 1] = ARGV[i]
	end
end

if mark ~= '' then
	unseen = call('LPOS', pending, mark, 'MAXLEN', 2000) or call('LPOS', pending, mark, 'RANK', -1) or unseen
end
local found = {}
if unseen > 0 then
	local ids = call('LRANGE', pending, math.max(0, unseen - looks), unseen - 1)
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
for i = #found, 1, -1 do
	call('LREM', pending, 1, found[i])
	call('RPUSH', pending, found[i])
end
for i = #first, 1, -1 do
	call('RPUSH', pending, first[i])
end
return {#first + #found, mark, unseen, unpack(back)}
