-- Creates a delivery from the results that wait for one endpoint. The layout is in outbox.go.
--
-- KEYS  the list of items, the delivery
-- ARGV  the most items and the most bytes of one delivery, now (Unix ms), how long a delivery is
--       retained (ms), its id, appid, endpoint
-- Answer: how many items the delivery has (0 = no delivery was created), and how many are left
local list, row = KEYS[1], KEYS[2]
local most, bytes, now, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local id, appid, endpoint = ARGV[5], ARGV[6], ARGV[7]
local call, sub = redis.call, string.sub
local prefix = string.match(list, '^[^}]+}:')

if call('EXISTS', row) == 1 then -- the first answer was lost, and the call is repeated
  return {tonumber(call('HGET', row, 'n')), call('LLEN', list)}
end
-- The delivery takes at least one item, even if that exceeds the byte limit.
local items = call('LRANGE', list, 0, most - 1)
local n, size = 0, 0
for i, item in ipairs(items) do
  size = size + #item
  if i > 1 and size > bytes then
    break
  end
  n = i
end
if n == 0 then
  call('SREM', prefix .. 'outlets', endpoint)
  return {0, 0}
end

-- Characters 23 to 44 of an item are its user's hash, or dashes. Index the delivery by user, so
-- that an erasure finds it.
for i = 1, n do
  call('RPUSH', row .. ':items', items[i])
  local whose = sub(items[i], 23, 44)
  if whose ~= string.rep('-', 22) then
    remember(prefix .. 'p:' .. whose, 'd:' .. id, kept)
  end
end
call('PEXPIRE', row .. ':items', kept)
call('LTRIM', list, n, -1)
call('HSET', row, 'appid', appid, 'endpoint', endpoint, 'created', now, 'n', n, 'state', 'pending', 'tried', 0, 'next', now, 'rev', 0)
call('PEXPIRE', row, kept)
call('ZADD', prefix .. 'deliveries', now, id)
call('ZREMRANGEBYSCORE', prefix .. 'deliveries', '-inf', now - kept)
call('ZADD', prefix .. 'due', now, id)
local left = call('LLEN', list)
if left == 0 then
  call('SREM', prefix .. 'outlets', endpoint)
end
return {n, left}
