-- Claims records for one task. keys.go describes a value, and what happens to which record.
-- user.lua and whose.lua precede this file.
--
-- KEYS  one key per record, then per record the key of its user, or the record's own key for no
--       user
-- ARGV  owner, how long the claim lasts (ms), ttl (ms), how much longer a user's hash is stored
--       (ms), then per record: the value to store if there is none, without its header, and when
--       the record was accepted (Unix ms)
-- Answer, per record: 0 claimed, stored as sent | 1 busy | 2 erased | "c" + value: claimed, the
--       value as it was | "d" + value: done
local owner, ttl, margin = ARGV[1], ARGV[3], ARGV[4]
local call, sub, match = redis.call, string.sub, string.match
local n = #KEYS / 2
local tombstone = '3' .. string.rep('0', 29)
local header = '^([0123])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')'
local free = '0000000000000'

-- Claims lapse by the clock of this server only.
local time = call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local till = string.format('%013.0f', math.min(math.max(now + tonumber(ARGV[2]), 1), 9999999999999))

-- Adds a record to the hash of its user. Returns true if an erasure of the user is impossible:
-- the record has no user, or nothing was known of the user before.
local function own(user, key)
  return user == key or remember(user, sub(key, -22), ttl + margin)
end

-- Stores record i as it was sent.
local function store(i)
  call('SET', KEYS[i], '0' .. owner .. till .. ARGV[2 * i + 3], 'PX', ttl)
end

-- Claims record i, which does not exist. It first adds the record to the hash of its user. If
-- that hash is new, as for most users, there is no erasure to look up. Returns the answer for
-- the record.
local function claimNew(i)
  local user, key = KEYS[n + i], KEYS[i]
  if own(user, key) or not forgotten(user, key, ARGV[2 * i + 4]) then
    store(i)
    return 0
  end
  call('HDEL', user, sub(key, -22))
  call('SET', key, tombstone, 'PX', ttl)
  return 2
end

local answer = {}
for first = 1, n, 1000 do -- safely below the limit of unpack
  local last = math.min(first + 999, n)
  -- A value is false if it does not exist, or is not a string.
  local values = call('MGET', unpack(KEYS, first, last))
  for i = first, last do
    local key, user, value, rank, holder, lapses = KEYS[i], KEYS[n + i], values[i - first + 1]
    if value then
      rank, holder, lapses = match(value, header)
    end

    if not rank then
      answer[i] = claimNew(i)
    elseif rank == '3' then
      answer[i] = 2
    elseif rank == '2' then
      answer[i] = 'd' .. value
    elseif forgotten(user, key, ARGV[2 * i + 4]) then
      answer[i] = 2
    elseif rank == '1' and holder == owner and lapses == free then -- this task completed it
      answer[i] = 'd' .. value
    elseif holder ~= owner and tonumber(lapses) > now then -- claimed by another task
      answer[i] = 1
    elseif not same(sub(value, 31, 53), user, key) then -- another user's: replace it
      store(i)
      own(user, key)
      leave(sub(value, 31, 53), key)
      answer[i] = 0
    else
      if rank == '0' then
        -- A value of an older version has no mark yet, so it gets one.
        local mark = sub(value, 31, 31) == '@' and '' or '@' .. sub(user, -22)
        call('SET', key, '0' .. owner .. till .. mark .. sub(value, 31), 'PX', ttl)
        own(user, key)
      else
        call('SETRANGE', key, 1, owner .. till) -- leaves the TTL alone
      end
      answer[i] = 'c' .. value
    end
  end
end
return answer
