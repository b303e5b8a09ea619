-- Puts ends into the outbox that another store than this Redis has saved. outbox.go says what lies where.
--
-- KEYS  per record what tells that its end is in already, then per record its person, or the former for nobody
-- ARGV  how long the former is known (ms), how long what waits for delivery is kept (ms), what the keys of the app begin with,
--       then per record the hash of the record, when it was accepted (Unix ms), its endpoint and its item for that
local known, kept, prefix = ARGV[1], ARGV[2], ARGV[3]
local call = redis.call
local n = #KEYS / 2
for i = 1, n do
  local once, person, at = KEYS[i], KEYS[n + i], 4 * i
  local erased = person ~= once and call('HGET', person, 'erased')
  local forgotten = erased and tonumber(ARGV[at + 1]) <= tonumber(erased)
  if not forgotten and call('SET', once, '1', 'PX', known, 'NX') then
    local whose = person ~= once and string.sub(person, -22) or string.rep('-', 22)
    local list = prefix .. 'o:' .. ARGV[at + 2]
    call('RPUSH', list, ARGV[at] .. whose .. ARGV[at + 3])
    call('PEXPIRE', list, kept)
    call('SADD', prefix .. 'outlets', ARGV[at + 2])
  end
end
return n
