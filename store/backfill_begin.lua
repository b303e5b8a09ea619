-- Says which lines come next, before their tasks are written: whoever goes on after a crash writes the same ones.
--
-- ARGV  …, writer, the lines that are in, those that are in then, the digest of them, when they were checked (Unix ms),
--       the number of cloudIDs of each chunk ("100,100,7"), then per chunk its sealed cloudIDs
-- Answer: {"ok", then per chunk 1 if all of it has ended, else 0}, or {why not}
local writer, from, to, digest, checked, layout = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6], ARGV[7], ARGV[8]
local was = call('HMGET', row, 'state', 'writer', 'lines', 'digest', 'begun')
local state, lines, begun = was[1], tonumber(was[3] or 0), was[5]
if not state then
  return {'gone'}
elseif was[2] ~= writer then
  return {'taken'}
elseif lines == to and was[4] == digest then
  return {'committed'}
elseif state ~= 'open' then
  return {state}
elseif lines ~= from then
  return {'taken'}
end
local mine = string.format('%d %s %s %s', to, digest, checked, layout)
if begun and begun ~= mine then
  return {'differs'}
end
call('HSET', row, 'begun', mine)

local answer = {'ok'}
local i, first = 0, number('chunks')
for n in string.gmatch(layout, '%d+') do
  local key = chunkKey(first + i)
  call('HSETNX', key, 'n', n)
  call('HSETNX', key, 'ids', ARGV[9 + i])
  call('PEXPIRE', key, keep)
  local ends = call('HMGET', key, 'resolved', 'failed', 'expired')
  local done = tonumber(ends[1] or 0) + tonumber(ends[2] or 0) + tonumber(ends[3] or 0) == tonumber(n)
  i = i + 1
  answer[i + 1] = done and 1 or 0
end
call('PEXPIRE', row, keep)
return answer
