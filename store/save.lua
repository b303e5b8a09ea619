-- Saves records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record
-- ARGV  owner, now (13 digits), ttl (ms), then per record its value, not claimed
-- Answer: the number of records
local owner, now, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call, pcall, sub, match, byte = redis.call, redis.pcall, string.sub, string.match, string.byte
local header = '^([012])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')$'
local free, nobody = '0000000000000', '0000000000000000'

for i = 1, #KEYS do
  local key, new = KEYS[i], ARGV[i + 3]
  local old, rank, holder, held = pcall('GETRANGE', key, 0, 29) -- not a string: an error, and overwritten below
  -- Only a final record over a pending or failed one, the common case, needs no closer look.
  if type(old) == 'string' and (byte(new) == 48 or byte(old) == 50) then -- 48 is '0', 50 is '2'
    rank, holder, held = match(old, header)
  end

  if rank == '2' then
    -- the first resolved record stays
  elseif not rank or byte(new) ~= 48 then
    call('SET', key, new, 'PX', ttl)
  elseif rank == '0' then
    if holder ~= owner and tonumber(held) > now then
      new = old .. sub(new, 31)
    end
    call('SET', key, new, 'PX', ttl)
  elseif holder == owner and held ~= free then
    call('SETRANGE', key, 1, nobody .. free) -- leaves the TTL alone
  end
end
return #KEYS
