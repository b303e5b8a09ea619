-- Puts ends into the outbox that another store than this Redis has saved. outbox.go says what lies where.
--
-- KEYS  the set of ends that have come and may come again, then per end its person, or the set for nobody
-- ARGV  how long that set is kept (ms), how long what waits for delivery is kept (ms), what the keys of the app begin with,
--       then per end its number, the hash of its record, when that was saved (Unix us), its endpoint and its item for that
local known, kept, prefix = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local came, n = KEYS[1], #KEYS - 1

-- Whether an end comes late, as over a connection that hung: since it was saved its person has been erased. Both moments
-- are of the other store's clock. One that was saved after that had a record, whenever it was accepted: the store has
-- judged it.
local function forgotten(person, saved)
  local at = person ~= came and call('HGET', person, 'erased')
  return at and tonumber(saved) <= math.floor(1000 * tonumber(at) + 0.5)
end

local lists, order = {}, {}
for i = 1, n do
  local person, at = KEYS[i + 1], 5 * i - 2
  if call('SADD', came, ARGV[at + 1]) == 1 and not forgotten(person, ARGV[at + 3]) then
    local whose = person ~= came and string.sub(person, -22) or string.rep('-', 22)
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
  for first = 1, #items, 1000 do -- as many as unpack takes without care for its limit
    call('RPUSH', list, unpack(items, first, math.min(first + 999, #items)))
  end
  call('PEXPIRE', list, kept)
  call('SADD', prefix .. 'outlets', endpoint)
end
return n
