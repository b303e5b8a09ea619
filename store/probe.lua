-- Lets one through to an endpoint that has not answered for a while. KEYS: the endpoint.
-- ARGV: now (Unix ms), for how long nobody else is let through (ms).
-- Answer: 1, or 0 if it is not time yet, or somebody else is through
local shut = redis.call('HGET', KEYS[1], 'shut')
if not shut then
  return 1
end
if tonumber(shut) > tonumber(ARGV[1]) then
  return 0
end
redis.call('HSET', KEYS[1], 'shut', ARGV[1] + ARGV[2])
return 1
