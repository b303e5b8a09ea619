-- Cancels a backfill of which something is pending, or may come.
-- Answer: the backfill, or nothing
local state = call('HGET', row, 'state')
if not state then
  return {}
end
if state ~= 'canceled' and call('HEXISTS', row, 'finished') == 0 then
  call('HSET', row, 'state', 'canceled')
  changed()
end
return call('HGETALL', row)
