-- What the scripts share that know whose something is; it is put before each of them. keys.go says what lies where.

-- Makes a record or a delivery one of its person's, who is known for keep (ms) at least, and longer if something else
-- of the person lasts longer.
--
-- Somebody who comes every day stays known, while the records of former days end. So now and then some of the person's
-- fields are looked at, and those without anything behind them go: of twice as many as have come since the last time, so
-- that at the most about half of all fields are such.
--
-- Answers whether nothing has been known of the person until now, not even an erasure.
local function remember(person, field, keep)
  local call, n = redis.call, 0
  if call('HSET', person, field, '1') == 1 then
    n = call('HLEN', person)
    if n >= 64 and n % 32 == 0 then
      local prefix = string.sub(person, 1, -25) -- what stands before "p:" and the hash
      for _, one in ipairs(call('HRANDFIELD', person, 64)) do
        if one ~= field and one ~= 'erased' and call('EXISTS', prefix .. one) == 0 then
          call('HDEL', person, one)
        end
      end
    end
  end
  local new = n == 1 -- a hash that was just made, which has no TTL yet
  if new or call('PTTL', person) < tonumber(keep) then
    call('PEXPIRE', person, keep)
  end
  return new
end
