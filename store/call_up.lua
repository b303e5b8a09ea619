-- Takes deliveries out of a line, each for one caller, who has a minute to say so. KEYS: the line.
-- ARGV: how many, now (Unix ms), when those that were taken are in line again, if nobody says so
-- Answer: their ids
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[2], 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  redis.call('ZADD', KEYS[1], ARGV[3], id)
end
return ids
