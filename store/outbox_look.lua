-- Lists the outboxes to check. KEYS: fresh, later (see outbox_index.go).
-- Answer: now (Unix ms), all of fresh with their times, those of later whose time has come
local now = redis.call('TIME')
local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
return {ms, redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES'), redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', ms)}
