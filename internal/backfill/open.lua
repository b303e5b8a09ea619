-- Creates a backfill or continues one. The last client that opens it may write. A repetition
-- changes nothing.
--
-- ARGV  …, writer, 1 to create it if it does not exist, appid, webhook, format
-- Reply: the backfill, or nothing if it does not exist. If it was to be created but exists with
--         another appid, webhook or format, it stays as it is.
local writer, make = ARGV[3], ARGV[4] == '1'
local appid, webhook, format = ARGV[5], ARGV[6], ARGV[7]
local was = call('HMGET', row, 'appid', 'webhook', 'format')
if not was[1] then
  if not make then
    return {}
  end
  call('HSET', row, 'appid', appid, 'webhook', webhook, 'format', format, 'state', 'open', 'created', now, 'writer', writer)
  changed()
  -- The list holds the newest 1,000 backfills. An id has 29 characters.
  local all = string.match(row, '^.-}:') .. 'all'
  call('ZADD', all, now, string.sub(row, -29))
  call('ZREMRANGEBYRANK', all, 0, -1001)
  call('PEXPIRE', all, keep)
elseif not make or was[1] == appid and was[2] == webhook and was[3] == format then
  call('HSET', row, 'writer', writer)
  call('PEXPIRE', row, keep)
end
return call('HGETALL', row)
