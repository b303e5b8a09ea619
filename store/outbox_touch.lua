-- Notes that the outboxes of apps are about to change. outbox_index.go says what lies where.
-- KEYS: those that have changed lately. ARGV: how long what waits for delivery is kept (ms), then the apps' hashes.
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], ms, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return #ARGV - 1
