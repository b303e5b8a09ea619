-- Marks the outboxes of apps as about to change. The layout is in outbox_index.go.
-- KEYS: fresh. ARGV: how long a result waits for delivery (ms), then the hashes of the apps.
-- Answer: how many apps were given
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], ms, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
