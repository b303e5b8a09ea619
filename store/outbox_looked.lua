-- Says when outboxes that were looked at are looked at again, unless they have changed meanwhile.
-- KEYS: those that have changed lately, those that are to be looked at later.
-- ARGV: how long what waits for delivery is kept (ms), then per app its hash, its moment among the first when it was looked
--       at ("" = it was not among them), and in how many ms it is looked at again, -1 = nothing is in it
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
