-- Claims records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record, then one per record: its person, or the record's own for nobody
-- ARGV  owner, now and until (13 digits each), ttl (ms), how much longer a person is known (ms), then per record the value
--       to store if there is none, and when it was accepted (Unix ms)
-- Answer, per record: 0 claimed, stored as sent | 1 busy | 2 erased | "c" + value claimed, as it was | "d" + value done
local owner, now, till, ttl, margin = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local call, sub, match = redis.call, string.sub, string.match
local n = #KEYS / 2
local tombstone = '3' .. string.rep('0', 29)
local header = '^([0123])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')'
local free = '0000000000000'

-- Whether a record that is not there belongs to a person who was erased after it was accepted.
local function forgotten(person, key, accepted)
  local at = person ~= key and call('HGET', person, 'erased')
  return at and tonumber(accepted) <= tonumber(at)
end

-- Makes a record its person's.
local function own(person, key)
  if person ~= key then
    remember(person, sub(key, -22), ttl + margin)
  end
end

local answer = {}
for first = 1, n, 1000 do -- as many as unpack takes without care for its limit
  local last = math.min(first + 999, n)
  local values = call('MGET', unpack(KEYS, first, last)) -- false if there is none, or no string
  for i = first, last do
    local key, person, value, rank, holder, held = KEYS[i], KEYS[n + i], values[i - first + 1]
    if value then
      rank, holder, held = match(value, header)
    end

    if not rank and forgotten(person, key, ARGV[2 * i + 5]) then
      call('SET', key, tombstone, 'PX', ttl)
      answer[i] = 2
    elseif rank == '3' then
      answer[i] = 2
    elseif not rank then
      call('SET', key, ARGV[2 * i + 4], 'PX', ttl)
      own(person, key)
      answer[i] = 0
    elseif rank == '2' or (rank == '1' and holder == owner and held == free) then
      answer[i] = 'd' .. value
    elseif holder ~= owner and tonumber(held) > now then
      answer[i] = 1
    else
      if rank == '0' then
        call('SET', key, '0' .. owner .. till .. sub(value, 31), 'PX', ttl)
        own(person, key)
      else
        call('SETRANGE', key, 1, owner .. till) -- leaves the TTL alone
      end
      answer[i] = 'c' .. value
    end
  end
end
return answer
