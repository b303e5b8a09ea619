-- Erases the records of one person. keys.go says what lies where.
--
-- KEYS  the person's hash
-- ARGV  now (Unix ms), ttl (ms), how much longer the person is known (ms), what the keys of the app's records begin with
-- Answer: the number of records that were there
local person, now, ttl, margin, prefix = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call = redis.call
local tombstone = '3' .. string.rep('0', 29)

local erased = 0
for _, field in ipairs(call('HKEYS', person)) do
  if #field == 22 then
    -- In the same slot of a cluster as the person: the names share their tag.
    local key = prefix .. field
    local there = redis.pcall('GETRANGE', key, 0, 0)
    if type(there) == 'string' and there ~= '' then
      if there ~= '3' then
        erased = erased + 1
      end
      call('SET', key, tombstone, 'PX', ttl)
    end
    call('HDEL', person, field)
  end
end
call('HSET', person, 'erased', now)
call('PEXPIRE', person, ttl + margin)
return erased
