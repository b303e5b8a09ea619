-- Notes what came of an attempt at a delivery, or what became of it. outbox.go says what lies where.
--
-- KEYS  the delivery
-- ARGV  its id, its new state, when it is tried next (Unix ms), the attempt ("" = there was none), 1 if that counts, how many
--       attempts are kept, how long a delivery that was delivered is kept (ms), now (Unix ms)
-- Answer: 1, or 0 if it is not there any more, as after an erasure
local row, id, state, next, attempt, counts = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local call = redis.call
local prefix = string.match(row, '^[^}]+}:')

local was = call('HGET', row, 'state')
if not was or was == 'delivered' then
  call('ZREM', prefix .. 'due', id)
  return was and 1 or 0
end
call('HSET', row, 'state', state, 'next', next)
if attempt ~= '' then
  call('HINCRBY', row, 'tried', counts)
  call('RPUSH', row .. ':tries', attempt)
  call('LTRIM', row .. ':tries', -tonumber(ARGV[6]), -1)
  call('PEXPIRE', row .. ':tries', math.max(1, call('PTTL', row)))
end
if state == 'pending' then
  call('ZADD', prefix .. 'due', next, id)
else
  call('ZREM', prefix .. 'due', id)
end
if state == 'delivered' then
  call('DEL', row .. ':items')
  call('ZREM', prefix .. 'deliveries', id)
  call('ZADD', prefix .. 'delivered', ARGV[8], id)
  call('ZREMRANGEBYSCORE', prefix .. 'delivered', '-inf', ARGV[8] - ARGV[7])
  call('PEXPIRE', prefix .. 'delivered', ARGV[7])
  call('PEXPIRE', row, ARGV[7])
  call('PEXPIRE', row .. ':tries', ARGV[7])
end
return 1
