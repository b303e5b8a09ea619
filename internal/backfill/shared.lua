-- Shared functions of the backfill scripts; prepended to each of them. The layout is in
-- store.go.
--
-- KEYS  the backfill; its other keys begin with its name and lie in the same slot
-- ARGV  now (Unix ms), how long all of it is retained (ms), then the arguments of the script
local row, now, keep = KEYS[1], ARGV[1], ARGV[2]
local call = redis.call

-- Returns a field of the backfill as a number, 0 if it is missing.
local function number(field)
  return tonumber(call('HGET', row, field) or 0)
end

-- Returns the key of chunk i.
local function chunkKey(i)
  return row .. ':c:' .. string.format('%d', i)
end

-- Records a change. If the backfill can change no more, it is finished as of now. Restarts the
-- retention of all keys except the chunks.
local function changed()
  call('HSET', row, 'updated', now)
  call('HINCRBY', row, 'rev', 1)
  local pending = number('accepted') - number('resolved') - number('failed') - number('expired')
  if call('HGET', row, 'state') == 'open' or pending > 0 then
    call('HDEL', row, 'finished')
  else
    call('HSETNX', row, 'finished', now)
  end
  for _, key in ipairs({row, row .. ':marks', row .. ':rejects'}) do
    call('PEXPIRE', key, keep)
  end
end

