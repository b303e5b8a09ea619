-- Records the result of an attempt at a delivery, or a new state without an attempt. The layout
-- is in outbox.go.
--
-- KEYS  the delivery
-- ARGV  its id, its new state, the time of the next attempt (Unix ms), the attempt as JSON
--       ("" = none), 1 if the attempt counts against the schedule else 0, how many attempts are
--       stored, how long a delivered delivery is stored (ms), now (Unix ms)
-- Answer: 1, or 0 if the delivery no longer exists, for instance after an erasure
local row, id, state, next, attempt, counts = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local call = redis.call
local prefix = string.match(row, '^[^}]+}:')

-- A delivered delivery never changes again.
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
-- The results are no longer needed: drop them, and retain the rest for a short time.
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
