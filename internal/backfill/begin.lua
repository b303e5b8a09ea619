-- Begins a window: stores which lines come next, before their tasks are enqueued. A client that
-- continues after a crash then enqueues the same tasks.
--
-- ARGV  …, writer, how many lines are committed, how many are after this window, their digest, when
--       the lines were checked (Unix ms), how many cloudIDs each chunk has ("100,100,7"), then per
--       chunk its sealed cloudIDs
-- Reply: {"ok", then per chunk 1 if all its cloudIDs have a final status, else 0}, or {reason}
local writer, from, to, digest, checked, layout = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local was = call('HMGET', row, 'state', 'writer', 'lines', 'digest', 'begun')
local state, lines, begun = was[1], tonumber(was[3] or 0), was[5]
if not state then
  return {'gone'}
elseif was[2] ~= writer then
  return {'superseded'}
elseif lines == to and was[4] == digest then
  return {'committed'}
elseif state ~= 'open' then
  return {state}
elseif lines ~= from then
  return {'superseded'}
end
-- A window that was begun must be begun again with the same lines and the same chunks.
local mine = string.format('%d %s %s %s', to, digest, checked, layout)
if begun and begun ~= mine then
  return {'differs'}
end
call('HSET', row, 'begun', mine)

-- A repeated call keeps the chunks and their counts.
local answer = {'ok'}
local i, first = 0, number('chunks')
for n in string.gmatch(layout, '%d+') do
  local key = chunkKey(first + i)
  call('HSETNX', key, 'n', n)
  call('HSETNX', key, 'ids', ARGV[9 + i])
  call('PEXPIRE', key, keep)
  local counts = call('HMGET', key, 'resolved', 'failed', 'expired')
  local done = tonumber(counts[1] or 0) + tonumber(counts[2] or 0) + tonumber(counts[3] or 0) == tonumber(n)
  i = i + 1
  answer[i + 1] = done and 1 or 0
end
call('PEXPIRE', row, keep)
return answer
