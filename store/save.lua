-- Saves records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record, then one per record: its person, or the record's own for nobody
-- ARGV  owner, ttl (ms), how much longer a person is known (ms), how long what waits for delivery is kept (ms), then per
--       record its value, not claimed, when it was accepted (Unix ms), its endpoint, and its item for that ("" = none)
-- Answer: per record 1 if it was written, and will stay as it is if it is an end; else 0
local owner, ttl, margin, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
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

-- Puts the end of record i into the outbox of its endpoint.
local owed = {}
local function deliver(i)
  local key, person, endpoint, item = KEYS[i], KEYS[n + i], ARGV[4 * i + 3], ARGV[4 * i + 4]
  if item == '' then
    return
  end
  local whose = person ~= key and sub(person, -22) or string.rep('-', 22)
  local list = sub(key, 1, -23) .. 'o:' .. endpoint
  call('RPUSH', list, sub(key, -22) .. whose .. item)
  if not owed[list] then
    owed[list] = true
    call('PEXPIRE', list, kept)
    call('SADD', sub(key, 1, -23) .. 'outlets', endpoint)
  end
end

local written = {}
for i = 1, n do
  local key, new = KEYS[i], ARGV[4 * i + 1]
  local old, rank, holder, held = pcall('GETRANGE', key, 0, 29) -- not a string: an error, and overwritten below
  if type(old) == 'string' then
    rank, holder, held = match(old, header)
  end

  written[i] = 0
  if not rank then
    local person = KEYS[n + i]
    if not forgotten(person, key, ARGV[4 * i + 2]) then
      call('SET', key, new, 'PX', ttl)
      written[i] = 1
      if person ~= key then
        remember(person, sub(key, -22), ttl + margin)
      end
      deliver(i)
    end
  elseif rank == '2' or rank == '3' then
    -- the first resolved record stays, and so does a tombstone
  elseif byte(new) ~= 48 then -- final: not '0'
    call('SET', key, new, 'PX', ttl)
    written[i] = 1
    -- A task that has ended the record already repeats a save whose answer it has not heard.
    if rank == '0' or holder ~= owner or held ~= free or byte(new) == 50 then
      deliver(i)
    end
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
