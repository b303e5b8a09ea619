-- Shared by the claim and save scripts. This file precedes both of them, after person.lua.
-- keys.go describes the layout.

-- moments caches the time of each user's last erasure, so that a call reads it once.
local moments = {}

-- Returns whether the user of a record was erased after the record was accepted. person equals
-- key if the record has no user.
local function forgotten(person, key, accepted)
  if person == key then
    return false
  end
  local at = moments[person]
  if at == nil then
    at = redis.call('HGET', person, 'erased')
    moments[person] = at
  end
  return at and tonumber(accepted) <= tonumber(at)
end

-- Returns whether an existing record belongs to the user already. mark is what follows the
-- header of the existing value: "@" and the user. A value of an older version has no mark;
-- there, mark is the beginning of the body, and the user's hash decides.
local function same(mark, person, key)
  if string.byte(mark) == 64 then
    return string.sub(mark, 2, 23) == (person ~= key and string.sub(person, -22) or string.rep('-', 22))
  end
  return person ~= key and redis.call('HEXISTS', person, string.sub(key, -22)) == 1
end

-- Removes a record from the hash of its previous user.
local function leave(mark, key)
  local former = string.byte(mark) == 64 and string.sub(mark, 2, 23) or ''
  if former ~= '' and former ~= string.rep('-', 22) then
    -- In a cluster the hash is in the same slot: both keys share a tag.
    redis.call('HDEL', string.sub(key, 1, -23) .. 'p:' .. former, string.sub(key, -22))
  end
end
