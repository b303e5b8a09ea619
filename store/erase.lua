-- Erases the records of one user, and removes the user's results from outboxes and deliveries.
-- keys.go and outbox.go describe the layout.
--
-- KEYS  the key of the user's hash, then in a sealed store the key that an unsealed one has used
-- ARGV  the time (Unix ms, "" = now by this server's clock), ttl (ms), how much longer the user's
--       hash is stored (ms), the prefix of the app's keys
-- Answer: the number of records that existed
local now, ttl, margin, prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call, sub = redis.call, string.sub
local tombstone = '3' .. string.rep('0', 29)
if now == '' then
  local time = call('TIME')
  now = string.format('%.3f', tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000)
end

-- Removes the user's items from a list. Returns whether there were any, and how many items
-- remain.
local whose = {}
for _, user in ipairs(KEYS) do
  whose[sub(user, -22)] = true
end
local function removeFrom(list)
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

-- Removes the user's results from a delivery. The rest goes out under another id, because other
-- bytes may have been sent under this one.
local function redact(id)
  local row = prefix .. 'd:' .. id
  local gone, left = removeFrom(row .. ':items')
  if gone and left == 0 then
    call('DEL', row, row .. ':tries')
    call('ZREM', prefix .. 'due', id)
    call('ZREM', prefix .. 'deliveries', id) -- not from 'delivered': its deliveries have no items
  elseif gone then
    call('HINCRBY', row, 'rev', 1)
    call('HSET', row, 'n', left)
  end
end

-- Results that wait in an outbox are not listed in the user's hash, so check every outbox of
-- the app.
for _, endpoint in ipairs(call('SMEMBERS', prefix .. 'outlets')) do
  removeFrom(prefix .. 'o:' .. endpoint)
end

-- Erases what a user's hash lists, and returns how many records existed. A record that now
-- belongs to another user, or to no user, stays. A value of an older version does not name its
-- user and is erased.
local function erase(user)
  local erased = 0
  for _, field in ipairs(call('HKEYS', user)) do
    if #field == 22 then
      -- In a cluster the record is in the same slot as the hash: both keys share a tag.
      local key = prefix .. field
      local header = redis.pcall('GETRANGE', key, 0, 52)
      local exists = type(header) == 'string' and header ~= ''
      if exists and (sub(header, 31, 31) ~= '@' or whose[sub(header, 32, 53)]) then
        if sub(header, 1, 1) ~= '3' then
          erased = erased + 1
        end
        call('SET', key, tombstone, 'PX', ttl)
      end
      call('HDEL', user, field)
    elseif sub(field, 1, 2) == 'd:' then
      redact(sub(field, 3))
      call('HDEL', user, field)
    end
  end
  return erased
end

local erased = 0
for i, user in ipairs(KEYS) do
  -- Create no unkeyed hash for a user whom a sealed store has never known under one.
  if i == 1 or call('EXISTS', user) == 1 then
    erased = erased + erase(user)
    local before = call('HGET', user, 'erased')
    if not before or tonumber(before) < tonumber(now) then
      call('HSET', user, 'erased', now)
    end
    if call('PTTL', user) < ttl + margin then
      call('PEXPIRE', user, ttl + margin)
    end
  end
end
return erased
