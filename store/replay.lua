-- Restarts the schedule of a delivery that is not delivered. KEYS: the delivery. ARGV: its id,
-- now (Unix ms).
-- Answer: its state before, or nothing if it does not exist.
local row, id, now = KEYS[1], ARGV[1], ARGV[2]
local state = redis.call('HGET', row, 'state')
if state and state ~= 'delivered' then
  redis.call('HSET', row, 'state', 'pending', 'tried', 0, 'next', now)
  redis.call('ZADD', string.match(row, '^[^}]+}:') .. 'due', now, id)
end
return state
