-- Erases the records of one person, and takes them out of what waits for delivery. keys.go and outbox.go say what lies
-- where.
--
-- KEYS  the person's hash, and that under which an unsealed store has known the person
-- ARGV  the moment (Unix ms, "" = now by this server's clock), ttl (ms), how much longer the person is known (ms), what the
--       keys of the app's records begin with
-- Answer: the number of records that were there
local now, ttl, margin, prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call, sub = redis.call, string.sub
local tombstone = '3' .. string.rep('0', 29)
if now == '' then
  local time = call('TIME')
  now = string.format('%.3f', tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000)
end

-- Takes the person's items out of a list. Answers whether there were any, and how many are left.
local whose = {}
for _, person in ipairs(KEYS) do
  whose[sub(person, -22)] = true
end
local function take(list)
  local stay, gone = {}, false
  for _, item in ipairs(call('LRANGE', list, 0, -1)) do
    if whose[sub(item, 23, 44)] then
      gone = true
    else
      stay[#stay + 1] = item
    end
  end
  if gone then
    local ttl = call('PTTL', list)
    call('DEL', list)
    for _, item in ipairs(stay) do
      call('RPUSH', list, item)
    end
    if #stay > 0 and ttl > 0 then
      call('PEXPIRE', list, ttl)
    end
  end
  return gone, #stay
end

-- Takes the person's results out of a delivery. What is left of it goes out under another id, since other bytes may have
-- been sent under this one.
local function redact(id)
  local row = prefix .. 'd:' .. id
  local gone, left = take(row .. ':items')
  if gone and left == 0 then
    call('DEL', row, row .. ':tries')
    call('ZREM', prefix .. 'due', id)
    call('ZREM', prefix .. 'deliveries', id) -- one that was delivered has no items to be found here
  elseif gone then
    call('HINCRBY', row, 'rev', 1)
    call('HSET', row, 'n', left)
  end
end

for _, endpoint in ipairs(call('SMEMBERS', prefix .. 'outlets')) do
  take(prefix .. 'o:' .. endpoint)
end

-- Erases what a person's hash knows of, and answers how many records there were. One that is another person's by now, or
-- nobody's, stays; a value of a former version does not say whose it is.
local function erase(person)
  local erased = 0
  for _, field in ipairs(call('HKEYS', person)) do
    if #field == 22 then
      -- In the same slot of a cluster as the person: the names share their tag.
      local key = prefix .. field
      local there = redis.pcall('GETRANGE', key, 0, 52)
      if type(there) == 'string' and there ~= '' and (sub(there, 31, 31) ~= '@' or whose[sub(there, 32, 53)]) then
        if sub(there, 1, 1) ~= '3' then
          erased = erased + 1
        end
        call('SET', key, tombstone, 'PX', ttl)
      end
      call('HDEL', person, field)
    elseif sub(field, 1, 2) == 'd:' then
      redact(sub(field, 3))
      call('HDEL', person, field)
    end
  end
  return erased
end

local erased = 0
for i, person in ipairs(KEYS) do
  if i == 1 or call('EXISTS', person) == 1 then -- whom a sealed store has never known otherwise leaves no hash without a key
    erased = erased + erase(person)
    local before = call('HGET', person, 'erased')
    if not before or tonumber(before) < tonumber(now) then
      call('HSET', person, 'erased', now)
    end
    if call('PTTL', person) < ttl + margin then
      call('PEXPIRE', person, ttl + margin)
    end
  end
end
return erased
