-- Adds results from another store to the outbox in this Redis. The layout is in outbox.go.
--
-- KEYS  the set of relayed results that may be repeated, then per result the hash of its user, or
--       that set again if it has no user
-- ARGV  how long the set is retained (ms), how long a result waits for delivery (ms), the key
--       prefix of the app, then per result: its number, the hash of its record, when it was saved
--       (Unix us), its endpoint and its item for that endpoint
-- Answer: the number of results given
local known, kept, prefix = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local came, n = KEYS[1], #KEYS - 1

-- Reports whether the user was erased at or after the time the result was saved. Such a result
-- is late, for instance because its connection hung. Both times are by the other store's clock.
-- A result saved after the erasure had a record, whenever it was accepted: the store has
-- already decided about it.
local function forgotten(user, saved)
  local at = user ~= came and call('HGET', user, 'erased')
  return at and tonumber(saved) <= math.floor(1000 * tonumber(at) + 0.5)
end

-- Collect the new results per endpoint, then append each list at once.
local lists, order = {}, {}
for i = 1, n do
  local user, at = KEYS[i + 1], 5 * i - 2
  if call('SADD', came, ARGV[at + 1]) == 1 and not forgotten(user, ARGV[at + 3]) then
    local whose = user ~= came and string.sub(user, -22) or string.rep('-', 22)
    local endpoint = ARGV[at + 4]
    local items = lists[endpoint]
    if not items then
      items = {}
      lists[endpoint], order[#order + 1] = items, endpoint
    end
    items[#items + 1] = ARGV[at + 2] .. whose .. ARGV[at + 5]
  end
end
call('PEXPIRE', came, known)
for _, endpoint in ipairs(order) do
  local items, list = lists[endpoint], prefix .. 'o:' .. endpoint
  for first = 1, #items, 1000 do -- stays well below the limit of unpack
    call('RPUSH', list, unpack(items, first, math.min(first + 999, #items)))
  end
  call('PEXPIRE', list, kept)
  call('SADD', prefix .. 'outlets', endpoint)
end
return n
