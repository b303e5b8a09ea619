-- Saves records for one task. keys.go describes a value, and what happens to which record.
-- user.lua and whose.lua precede this file.
--
-- KEYS  one key per record, then per record the key of its user, or the record's own key for no
--       user
-- ARGV  owner, ttl (ms), how much longer a user's hash is stored (ms), how long the outbox is
--       stored (ms), then per record: its value, unclaimed, when it was accepted (Unix ms), its
--       endpoint, and its item for that endpoint ("" = none)
-- Answer, per record: 1 if it was written, else 0
local owner, ttl, margin, kept = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local call, pcall, sub, match, byte = redis.call, redis.pcall, string.sub, string.match, string.byte
local n = #KEYS / 2
local header = '^([0123])(' .. string.rep('[0-9a-f]', 16) .. ')(' .. string.rep('[0-9]', 13) .. ')'
local free, noOwner = '0000000000000', '0000000000000000'

-- Adds record i to the outbox of its endpoint. extended holds the lists whose TTL this call has
-- set.
local extended = {}
local function deliver(i)
  local key, user, endpoint, item = KEYS[i], KEYS[n + i], ARGV[4 * i + 3], ARGV[4 * i + 4]
  if item == '' then
    return
  end
  local whose = user ~= key and sub(user, -22) or string.rep('-', 22)
  local list = sub(key, 1, -23) .. 'o:' .. endpoint
  call('RPUSH', list, sub(key, -22) .. whose .. item)
  if not extended[list] then
    extended[list] = true
    call('PEXPIRE', list, kept)
    call('SADD', sub(key, 1, -23) .. 'outlets', endpoint)
  end
end

-- Writes record i. mark is the mark of the record that it replaces, if there is one. If the
-- marks differ, the record moves from the hash of its previous user to the hash of its own.
local function write(i, value, mark)
  local key, user = KEYS[i], KEYS[n + i]
  call('SET', key, value, 'PX', ttl)
  if mark ~= sub(value, 31, 53) then
    if mark then
      leave(mark, key)
    end
    if user ~= key then
      remember(user, sub(key, -22), ttl + margin)
    end
  end
end

local written = {}
for i = 1, n do
  local key, user, new = KEYS[i], KEYS[n + i], ARGV[4 * i + 1]
  -- pcall returns an error if the value is not a string. Such a value is overwritten below.
  local old, rank, holder, lapses = pcall('GETRANGE', key, 0, 52)
  if type(old) == 'string' then
    rank, holder, lapses = match(old, header)
  end
  local mark = rank and sub(old, 31)
  -- This task's claim on a record of the same user answers whether the user was erased: the claim
  -- checked, and an erasure since then has replaced the record with a tombstone.
  local claimed = rank and holder == owner and lapses ~= free

  written[i] = 0
  if rank == '2' or rank == '3' then
    -- the first resolved record stays; so does a tombstone
  elseif not (claimed and same(mark, user, key)) and forgotten(user, key, ARGV[4 * i + 2]) then
    if claimed then
      call('SETRANGE', key, 1, noOwner .. free) -- another user's record: release the claim on it
    end
  elseif not rank then
    write(i, new)
    written[i] = 1
    deliver(i)
  elseif byte(new) ~= 48 then -- final: not '0'
    write(i, new, mark)
    written[i] = 1
    -- If this task has already completed the record, it repeats a save whose answer was lost:
    -- do not deliver it again, unless it is resolved now.
    if rank == '0' or holder ~= owner or lapses ~= free or byte(new) == 50 then
      deliver(i)
    end
  elseif rank == '0' then
    if holder == owner then
      write(i, new, mark)
      written[i] = 1
    elseif same(mark, user, key) then -- another task's: its owner and claim stay
      write(i, sub(old, 1, 30) .. sub(new, 31), mark)
      written[i] = 1
    end
  elseif claimed then
    call('SETRANGE', key, 1, noOwner .. free) -- leaves the TTL alone
  end
end
return written
