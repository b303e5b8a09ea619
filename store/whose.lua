-- What the scripts of claims and saves share; it is put before both, behind person.lua. keys.go says what lies where.

-- The moments at which persons were erased, read once each.
local moments = {}

-- Whether the person that a record carries was erased after it was accepted.
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

-- Whether a record is the person's already. mark is what stands behind the header of the value that is there: "@" and
-- the person, or the beginning of the body in a value of a former version, where the person's hash has to tell.
local function same(mark, person, key)
  if string.byte(mark) == 64 then
    return string.sub(mark, 2, 23) == (person ~= key and string.sub(person, -22) or string.rep('-', 22))
  end
  return person ~= key and redis.call('HEXISTS', person, string.sub(key, -22)) == 1
end

-- Takes a record from the person that it was under.
local function leave(mark, key)
  local former = string.byte(mark) == 64 and string.sub(mark, 2, 23) or ''
  if former ~= '' and former ~= string.rep('-', 22) then
    redis.call('HDEL', string.sub(key, 1, -23) .. 'p:' .. former, string.sub(key, -22)) -- in the same slot: they share a tag
  end
end
