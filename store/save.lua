-- Saves records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record, then one per record: its person, or the record's own for nobody
-- ARGV  owner, ttl (ms), how much longer a person is known (ms), how long what waits for delivery is kept (ms), then per
--       record its value, not claimed, when it was accepted (Unix ms), its endpoint, and its item for that ("" = none)
-- Answer: per record 1 if it was written, and will stay as it is if it is an end; else 0
local owner, ttl, margin, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call, pcall, sub, match, byte = redis.call, redis.pcall, string.sub, string.match, string.byte
local n = #KEYS / 2
local header = '^([0123])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')'
local free, nobody = '0000000000000', '0000000000000000'

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

-- Writes record i over one with another mark, if mark is given, which is to be taken from that one's person.
local function write(i, value, mark)
  local key, person = KEYS[i], KEYS[n + i]
  call('SET', key, value, 'PX', ttl)
  if mark ~= sub(value, 31, 53) then
    if mark then
      leave(mark, key)
    end
    if person ~= key then
      remember(person, sub(key, -22), ttl + margin)
    end
  end
end

local written = {}
for i = 1, n do
  local key, person, new = KEYS[i], KEYS[n + i], ARGV[4 * i + 1]
  local old, rank, holder, held = pcall('GETRANGE', key, 0, 52) -- not a string: an error, and overwritten below
  if type(old) == 'string' then
    rank, holder, held = match(old, header)
  end
  local mark = rank and sub(old, 31)

  written[i] = 0
  if rank == '2' or rank == '3' then
    -- the first resolved record stays, and so does a tombstone
  elseif forgotten(person, key, ARGV[4 * i + 2]) then
    if rank and holder == owner and held ~= free then
      call('SETRANGE', key, 1, nobody .. free) -- another's record: the claim on it ends
    end
  elseif not rank then
    write(i, new)
    written[i] = 1
    deliver(i)
  elseif byte(new) ~= 48 then -- final: not '0'
    write(i, new, mark)
    written[i] = 1
    -- A task that has ended the record already repeats a save whose answer it has not heard.
    if rank == '0' or holder ~= owner or held ~= free or byte(new) == 50 then
      deliver(i)
    end
  elseif rank == '0' then
    if holder == owner then
      write(i, new, mark)
      written[i] = 1
    elseif same(mark, person, key) then
      write(i, sub(old, 1, 30) .. sub(new, 31), mark)
      written[i] = 1
    end
  elseif holder == owner and held ~= free then
    call('SETRANGE', key, 1, nobody .. free) -- leaves the TTL alone
  end
end
return written
