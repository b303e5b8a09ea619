-- Which outboxes are to be looked at. KEYS: those that have changed lately, those that are to be looked at later.
-- Answer: now (Unix ms), the first with their moments, the second whose moment has come
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
return {ms, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms)}
