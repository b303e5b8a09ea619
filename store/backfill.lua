-- What the scripts of backfills share; it is put before each of them. backfills.go says what lies where.
--
-- KEYS  the backfill; its other keys begin with its name, and so lie in its slot
-- ARGV  now (Unix ms), how long all of it is kept (ms), then those of the script
local row, now, keep = KEYS[1], ARGV[1], ARGV[2]
local call = redis.call

local function number(field)
  return tonumber(call('HGET', row, field) or 0)
end

local function chunkKey(i)
  return row .. ':c:' .. string.format('%d', i)
end

-- Notes a change, the end where nothing more is to come, and lets the time of all but the chunks begin anew.
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

