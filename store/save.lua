-- Saves records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record, then one per record: its person, or the record's own for nobody
-- ARGV  owner, ttl (ms), how much longer a person is known (ms), then per record its value, not claimed, and when it was
--       accepted (Unix ms)
-- Answer: per record 1 if it was written, and will stay as it is if it is an end; else 0
local owner, ttl, margin = ARGV[1], ARGV[2], ARGV[3]
local call, pcall, sub, match, byte = redis.call, redis.pcall, string.sub, string.match, string.byte
local n = #KEYS / 2
local header = '^([0123])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')$'
local free, nobody = '0000000000000', '0000000000000000'

-- Whether a record that is not there, as when its time has run out, belongs to a person who was erased after it was
-- accepted.
local function forgotten(person, key, accepted)
  local at = person ~= key and call('HGET', person, 'erased')
  return at and tonumber(accepted) <= tonumber(at)
end

local written = {}
for i = 1, n do
  local key, new = KEYS[i], ARGV[2 * i + 2]
  local old, rank, holder, held = pcall('GETRANGE', key, 0, 29) -- not a string: an error, and overwritten below
  if type(old) == 'string' then
    rank, holder, held = match(old, header)
  end

  written[i] = 0
  if not rank then
    local person = KEYS[n + i]
    if not forgotten(person, key, ARGV[2 * i + 3]) then
      call('SET', key, new, 'PX', ttl)
      written[i] = 1
      if person ~= key then
        call('HSET', person, sub(key, -22), '1')
        call('PEXPIRE', person, ttl + margin)
      end
    end
  elseif rank == '2' or rank == '3' then
    -- the first resolved record stays, and so does a tombstone
  elseif byte(new) ~= 48 then -- final: not '0'
    call('SET', key, new, 'PX', ttl)
    written[i] = 1
  elseif rank == '0' then
    if holder ~= owner then
      new = old .. sub(new, 31)
    end
    call('SET', key, new, 'PX', ttl)
    written[i] = 1
  elseif holder == owner and held ~= free then
    call('SETRANGE', key, 1, nobody .. free) -- leaves the TTL alone
  end
end
return written
