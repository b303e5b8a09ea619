-- Shared by the scripts that assign something to a user. This file precedes each of them.
-- keys.go describes the layout.

-- Adds a record or a delivery to the hash of its user. The hash is stored for at least keep
-- (ms), and longer if something else of the user lasts longer.
--
-- A user who returns every day keeps the hash alive, while the records of earlier days expire.
-- So from 64 fields on, whenever the number of fields reaches a multiple of 32, the function
-- checks 64 random fields. It removes those whose record or delivery is gone. It checks twice
-- as many fields as were added since the last check, so at most about half of all fields are
-- stale.
--
-- Returns whether the hash is new. If it is, nothing was known of the user, not even an
-- erasure.
local function remember(user, field, keep)
  local call, n = redis.call, 0
  if call('HSET', user, field, '1') == 1 then
    n = call('HLEN', user)
    if n >= 64 and n % 32 == 0 then
      local prefix = string.sub(user, 1, -25) -- the key without "p:" and the hash
      for _, one in ipairs(call('HRANDFIELD', user, 64)) do
        if one ~= field and one ~= 'erased' and call('EXISTS', prefix .. one) == 0 then
          call('HDEL', user, one)
        end
      end
    end
  end
  local new = n == 1 -- the hash has this field only, and no TTL yet
  if new or call('PTTL', user) < tonumber(keep) then
    call('PEXPIRE', user, keep)
  end
  return new
end
