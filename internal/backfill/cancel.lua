-- Cancels a backfill with pending cloudIDs or lines to come.
-- Reply: the backfill, or nothing if it does not exist
local state = call('HGET', row, 'state')
if not state then
  return {}
end
if state ~= 'canceled' and call('HEXISTS', row, 'finished') == 0 then
  call('HSET', row, 'state', 'canceled')
  changed()
end
return call('HGETALL', row)
