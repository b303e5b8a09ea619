-- Makes a backfill or goes on with one: whoever opens it last may write. A repetition changes nothing.
--
-- ARGV  …, writer, 1 to make it if it is not there, appid, webhook, format
-- Answer: the backfill, or nothing. If it should have been made and is of another kind, it is left as it is.
local writer, make = ARGV[3], ARGV[4] == '1'
local appid, webhook, format = ARGV[5], ARGV[6], ARGV[7]
local was = call('HMGET', row, 'appid', 'webhook', 'format')
if not was[1] then
  if not make then
    return {}
  end
  call('HSET', row, 'appid', appid, 'webhook', webhook, 'format', format, 'state', 'open', 'created', now, 'writer', writer)
  changed()
  local all = string.match(row, '^.-}:') .. 'all'
  call('ZADD', all, now, string.sub(row, -29))
  call('ZREMRANGEBYRANK', all, 0, -1001)
  call('PEXPIRE', all, keep)
elseif not make or was[1] == appid and was[2] == webhook and was[3] == format then
  call('HSET', row, 'writer', writer)
  call('PEXPIRE', row, keep)
end
return call('HGETALL', row)
