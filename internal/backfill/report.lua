-- Records how many cloudIDs of a chunk have a final status. The counts never fall, and their
-- sum never exceeds the size of the chunk. So a repetition, a late report, and a final status
-- that an erasure removed in the meantime change nothing.
--
-- ARGV  …, the chunk, how many are resolved, failed, expired, and 1 if all that remain have failed
-- Reply: nothing. A chunk that does not exist counts nothing.
local key = chunkKey(tonumber(ARGV[3]))
local was = call('HMGET', key, 'n', 'resolved', 'failed', 'expired', 'in')
if not was[1] or call('EXISTS', row) == 0 then
  return {}
end
local n = tonumber(was[1])
local counts = {tonumber(was[2] or 0), tonumber(was[3] or 0), tonumber(was[4] or 0)}
local left = n - counts[1] - counts[2] - counts[3]
local names = {'resolved', 'failed', 'expired'}
local any = false
for i, name in ipairs(names) do
  local more = tonumber(ARGV[3 + i]) - counts[i]
  if name == 'failed' and ARGV[7] == '1' then
    more = left
  end
  more = math.min(more, left)
  if more > 0 then
    any, left = true, left - more
    call('HINCRBY', key, name, more)
    if was[5] then
      call('HINCRBY', row, name, more)
    end
  end
end
call('PEXPIRE', key, keep)
if any and was[5] then
  changed()
end
return {}
