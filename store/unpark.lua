-- Unparks deliveries of a wait list, each for one caller. A delivery stays in the list with a
-- later time. If the caller does not remove it by then, it can be unparked again.
-- KEYS: the wait list. ARGV: how many, now (Unix ms), that later time (Unix ms).
-- Answer: their ids
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], ARGV[3], id)
end
return ids
