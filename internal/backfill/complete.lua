-- Records that all lines are committed.
--
-- ARGV  …, writer, how many lines there are
-- Reply: the backfill, or {reason}
local was = call('HMGET', row, 'state', 'writer', 'lines', 'begun')
if not was[1] then
  return {'gone'}
elseif was[2] ~= ARGV[3] or tonumber(was[3] or 0) ~= tonumber(ARGV[4]) then
  return {'superseded'}
elseif was[1] == 'canceled' then
  return {'canceled'}
elseif was[4] then
  return {'differs'}
end
if was[1] == 'open' then
  call('HSET', row, 'state', 'complete')
  changed()
end
return call('HGETALL', row)
