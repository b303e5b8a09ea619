-- Shared by the claim and save scripts. This file precedes both of them, after user.lua.
-- keys.go describes the layout.

-- moments caches the time of each user's last erasure, so that a call reads it once.
local moments = {}

-- Returns whether the user of a record was erased after the record was accepted. user equals
-- key if the record has no user.
local function forgotten(user, key, accepted)
  if user == key then
    return false
  end
  local at = moments[user]
  if at == nil then
    at = redis.call('HGET', user, 'erased')
    moments[user] = at
  end
  return at and tonumber(accepted) <= tonumber(at)
end

-- Returns whether an existing record belongs to the user already. mark is what follows the
-- header of the existing value: "@" and the user. In a value of an older version, which has no
-- mark, it is the beginning of the body, and the user's hash decides.
local function same(mark, user, key)
  if string.byte(mark) == 64 then
    return string.sub(mark, 2, 23) == (user ~= key and string.sub(user, -22) or string.rep('-', 22))
  end
  return user ~= key and redis.call('HEXISTS', user, string.sub(key, -22)) == 1
end

-- Removes a record from the hash of its previous user.
local function leave(mark, key)
  local previous = string.byte(mark) == 64 and string.sub(mark, 2, 23) or ''
  if previous ~= '' and previous ~= string.rep('-', 22) then
    -- In a cluster the hash is in the same slot: both keys share a tag.
    redis.call('HDEL', string.sub(key, 1, -23) .. 'p:' .. previous, string.sub(key, -22))
  end
end
