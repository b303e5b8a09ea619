-- Saves records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record
-- ARGV  owner, ttl (ms), then per record its value, not claimed
-- Answer: the number of records
local owner, ttl = ARGV[1], ARGV[2]
local call, pcall, sub, match, byte = redis.call, redis.pcall, string.sub, string.match, string.byte
local header = '^([012])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')$'
local free, nobody = '0000000000000', '0000000000000000'

for i = 1, #KEYS do
  local key, new = KEYS[i], ARGV[i + 2]
  local old, rank, holder, held = pcall('GETRANGE', key, 0, 29) -- not a string: an error, and overwritten below
  -- A final record over one that is not resolved, the common case, needs no closer look: 48 is '0', 50 is '2'.
  if type(old) == 'string' and (byte(new) == 48 or byte(old) == 50) then
    rank, holder, held = match(old, header)
  end

  if not rank then
    call('SET', key, new, 'PX', ttl)
  elseif rank == '2' then
    -- the first resolved record stays
  elseif rank == '0' then
    if holder ~= owner then
      new = old .. sub(new, 31)
    end
    call('SET', key, new, 'PX', ttl)
  elseif holder == owner and held ~= free then
    call('SETRANGE', key, 1, nobody .. free) -- leaves the TTL alone
  end
end
return #KEYS
