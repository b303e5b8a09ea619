-- Claims records for one task. keys.go says what a value looks like and what happens to which record.
--
-- KEYS  one per record
-- ARGV  owner, now and until (13 digits each), ttl (ms), then per record the value to store if there is none
-- Answer, per record: 0 claimed, stored as sent | 1 busy | "c" + value claimed, as it was | "d" + value done
local owner, now, till, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local call, sub, match = redis.call, string.sub, string.match
local header = '^([012])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')'
local free = '0000000000000'

local answer = {}
for first = 1, #KEYS, 1000 do -- as many as unpack takes without care for its limit
  local last = math.min(first + 999, #KEYS)
  local values = call('MGET', unpack(KEYS, first, last)) -- false if there is none, or no string
  for i = first, last do
    local key, value, rank, holder, held = KEYS[i], values[i - first + 1]
    if value then
      rank, holder, held = match(value, header)
    end

    if not rank then
      call('SET', key, ARGV[i + 4], 'PX', ttl)
      answer[i] = 0
    elseif rank == '2' or (rank == '1' and holder == owner and held == free) then
      answer[i] = 'd' .. value
    elseif holder ~= owner and tonumber(held) > now then
      answer[i] = 1
    else
      if rank == '0' then
        call('SET', key, '0' .. owner .. till .. sub(value, 31), 'PX', ttl)
      else
        call('SETRANGE', key, 1, owner .. till) -- leaves the TTL alone
      end
      answer[i] = 'c' .. value
    end
  end
end
return answer
