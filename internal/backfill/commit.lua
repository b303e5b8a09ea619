-- Commits a window, once its tasks are enqueued. A repetition changes nothing.
--
-- ARGV  …, writer, how many lines were committed before, how many are now, their digest, how many
--       lines of the window were accepted, how many rejected, how many rejects are stored at most,
--       then the rejects
-- Reply: the backfill, or {reason}
local writer, from, to, digest = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local accepted, rejected, most = ARGV[7], ARGV[8], tonumber(ARGV[9])
local was = call('HMGET', row, 'state', 'writer', 'lines', 'digest', 'begun')
local lines, begun = tonumber(was[3] or 0), was[5] or ''
if not was[1] then
  return {'gone'}
elseif was[2] ~= writer then
  return {'superseded'}
elseif lines == to and was[4] == digest then
  return call('HGETALL', row)
elseif lines ~= from then
  return {'superseded'}
end
local head = string.format('%d %s ', to, digest)
if string.sub(begun, 1, #head) ~= head then
  return {'differs'}
end

-- Tasks of the window may have reported before the commit. Their counts count from now on.
local layout = string.match(begun, '([%d,]*)$')
local i, sums = number('chunks'), {0, 0, 0}
for _ in string.gmatch(layout, '%d+') do
  local key = chunkKey(i)
  call('HSET', key, 'in', 1)
  for j, count in ipairs(call('HMGET', key, 'resolved', 'failed', 'expired')) do
    sums[j] = sums[j] + tonumber(count or 0)
  end
  i = i + 1
end
for j, what in ipairs({'resolved', 'failed', 'expired'}) do
  call('HINCRBY', row, what, sums[j])
end
call('HSET', row, 'lines', to, 'digest', digest, 'chunks', i)
call('HDEL', row, 'begun')
call('HINCRBY', row, 'accepted', accepted)
call('HINCRBY', row, 'rejected', rejected)
call('RPUSH', row .. ':marks', head)
local room = most - call('LLEN', row .. ':rejects')
for j = 10, math.min(#ARGV, 9 + room) do
  call('RPUSH', row .. ':rejects', ARGV[j])
end
changed()
return call('HGETALL', row)
