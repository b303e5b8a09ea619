-- Sets the next check of outboxes that were checked, unless they have changed since.
-- KEYS: fresh, later (see outbox_index.go).
-- ARGV: how long a result waits for delivery (ms), then per app its hash, its score in fresh when
--       it was checked ("" = not in fresh), and in how many ms to check it again (negative = its
--       outbox is empty)
-- Answer: how many apps were given
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 2, #ARGV, 3 do
  local app, was, again = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  if (redis.call('ZSCORE', KEYS[1], app) or '') == was then
    redis.call('ZREM', KEYS[1], app)
    if again < 0 then
      redis.call('ZREM', KEYS[2], app)
    else
      redis.call('ZADD', KEYS[2], ms + again, app)
    end
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[1])
return (#ARGV - 1) / 3
