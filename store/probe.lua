-- Lets one attempt through to an endpoint whose circuit is open.
--
-- KEYS  the endpoint
-- ARGV  now (Unix ms), for how long no other attempt is let through (ms)
-- Answer: 1, or 0 if it is not time yet or another attempt has been let through
local openUntil = redis.call('HGET', KEYS[1], 'shut')
if not openUntil then
  return 1
end
if tonumber(openUntil) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'shut', ARGV[1] + ARGV[2])
return 1
