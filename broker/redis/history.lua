-- Groups with history: one script numbers messages, keeps, trims and publishes them. See appends.go and questions.go.
--
--   state   hash: last (the newest number), epoch, epochs (name and the last number before it for each, oldest first), server (run_id),
--           first (the oldest number kept), base (the oldest in the stream), bytes (there), due (ms, when to do what is done now and
--           then), and for each process that appends live<run> (ms, when it last did) and <run>.<slot> (<batch> <result>) for its
--           last batches
--   stream  <number of the first>-<100 * ms + how many> m <messages>: a batch of 1 to 64 messages, each behind its length
--
-- KEYS: state, stream, and for an append with an id that id's key. ARGV: command, the server's run_id, a name for a new
-- epoch, the limits (messages, bytes, age in ms), for how long numbers outlive the age in ms. Commands:
--   L  does nothing, so that the script is loaded
--   A  append. More ARGV: the publishing command, channel, run, batch, its slot, the batch before in flight (0: none), its slot,
--      for how long the id is remembered in ms, the number of messages, and these. It returns the first one's number, or -n
--      where the id is known and n is its number.
--   E  trim, make an epoch where there is none, and tell. It returns last, epoch, first, bytes, epochs, length of the stream.
--   R  tell, as E. An epoch that is '' says that there is none.
--   P  drop all messages, and tell.
local call, command = redis.call, ARGV[1]
if command == 'L' then return 0 end
local state, stream = KEYS[1], KEYS[2]
local server, fresh, most, most_bytes, age = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local function number(n) return string.format('%.0f', n) end
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

local run, batch, slot, before, before_slot
local s
if command == 'A' then
  run, batch, before = ARGV[10], ARGV[11], ARGV[13]
  slot, before_slot = run .. '.' .. ARGV[12], run .. '.' .. ARGV[14]
  s = call('HMGET', state, 'last', 'epoch', 'epochs', 'server', 'first', 'bytes', 'due', 'base', slot, before_slot)
  if s[9] then
    local done, result = string.match(s[9], '^(%d+) (%-?%d+)$')
    if done == batch then return tonumber(result) end -- sent again
    if tonumber(done) > tonumber(batch) then return redis.error_reply('UNKNOWN what became of a batch before the last ones') end
  end
  if before ~= '0' and not (s[10] and string.match(s[10], '^%d+') == before) then
    return redis.error_reply('BEHIND an append that was refused')
  end
else
  s = call('HMGET', state, 'last', 'epoch', 'epochs', 'server', 'first', 'bytes', 'due', 'base')
end
local last, epoch, epochs = tonumber(s[1] or ''), s[2], s[3]
local first, bytes, due, base = tonumber(s[5] or ''), tonumber(s[6] or ''), tonumber(s[7] or ''), tonumber(s[8] or '')

local turned = false
local function begin(from) -- with nothing that is kept
  epoch, epochs, last, first, base, bytes, due, turned = fresh, fresh .. ' ' .. number(from), from, from + 1, from + 1, 0, 0, true
end
if not (last and epoch and epochs and first and base and bytes and due) then
  if command ~= 'A' and command ~= 'E' then return {'0', '', '1', '0', '', '0'} end
  call('DEL', stream)
  begin(0)
elseif s[4] ~= server then
  epoch, epochs, turned = fresh, epochs .. ' ' .. fresh .. ' ' .. number(last), true
  while select(2, string.gsub(epochs, '%S+ %S+', '')) > 16 do epochs = string.gsub(epochs, '^%S+ %S+ ', '') end
end

local saved = {'HSET', state}
local function save(name, value)
  saved[#saved + 1] = name
  saved[#saved + 1] = value
end

-- Drops what is beyond the limits: numbers at once, and batches, about `limit` of them at most, that have none left. The
-- newest batch is dropped for its age alone.
local function trim(limit, target)
  first = math.max(first, last + 1 - most)
  local from, before_base, seen = '-', base, 0
  -- XRANGE returns the batches whole: few of them where they are large.
  local count = math.max(math.min(math.floor(32768 * call('XLEN', stream) / math.max(bytes, 1)), 32), 1)
  base = last + 1
  while base > last do
    local batches = call('XRANGE', stream, from, '+', 'COUNT', count)
    for _, b in ipairs(batches) do
      local n, stamp = string.match(b[1], '^(%d+)%-(%d+)$')
      n, stamp = tonumber(n), tonumber(stamp)
      if seen == 0 and n ~= before_base then -- batches were evicted: what the others have is estimated
        bytes = bytes * math.min((last - n + 1) / math.max(last - before_base + 1, 1), 1)
      end
      local following = n + stamp % 100
      local live = stamp / 100 >= now - age and following > first and (following > last or bytes <= target)
      if live or seen >= limit then
        base = n
        break
      end
      bytes = math.max(bytes - #b[2][2], 0)
      seen, from = seen + 1, number(following) .. '-0'
    end
    if #batches < count then break end
  end
  if base > last then
    call('DEL', stream)
    bytes, due = 0, 0
  elseif seen > 0 then
    call('XTRIM', stream, 'MINID', number(base) .. '-0')
  end
  first, bytes = math.max(first, base), math.floor(bytes)
end

-- What is done now and then: the keys live on, and what processes that ended left is dropped.
local function tend()
  local keep = age + tonumber(ARGV[7])
  call('PEXPIRE', state, number(keep))
  call('PEXPIRE', stream, number(age + 120000))
  due = now + math.min(math.max(age / 16, 1000), 60000)
  save('due', number(due))
  local gone = {}
  for _, field in ipairs(call('HKEYS', state)) do
    local owner = string.match(field, '^live(.*)$')
    if owner and tonumber(call('HGET', state, field) or 0) < now - 600000 then
      gone[#gone + 1] = field
      for i = 0, 15 do gone[#gone + 1] = owner .. '.' .. i end
    end
  end
  if #gone > 0 then call('HDEL', state, unpack(gone)) end
end

local function save_all()
  save('last', number(last))
  save('bytes', number(bytes))
  save('first', number(first))
  save('base', number(base))
  if turned then
    save('epoch', epoch)
    save('epochs', epochs)
    save('server', server)
    save('due', number(due))
  end
  call(unpack(saved))
end

if command ~= 'A' then
  if command == 'P' then
    call('DEL', stream)
    first, base, bytes, due = last + 1, last + 1, 0, 0
    save('due', '0')
    save_all()
  elseif command == 'E' then
    trim(1000, most_bytes)
    tend()
    save_all()
  elseif turned then
    save_all()
  end
  return {number(last), epoch, number(first), number(bytes), epochs, number(call('XLEN', stream))}
end

local result
local known = KEYS[3] and call('GET', KEYS[3])
if known then
  result = '-' .. known
else
  local n, messages = tonumber(ARGV[16]), ARGV[17]
  local id = number(last + 1) .. '-' .. number(now * 100 + n)
  local added = redis.pcall('XADD', stream, id, 'm', messages)
  if type(added) == 'table' and added.err then
    if not string.find(added.err, 'equal or smaller', 1, true) then return added end
    call('DEL', stream) -- the state is older than the stream
    begin(last)
    call('XADD', stream, id, 'm', messages)
  end
  local head = struct.pack('>BBBBI2I8', 0xE5, 0x4D, 0x20, #epoch, n, last + 1) .. epoch
  result = number(last + 1)
  last, bytes = last + n, bytes + #messages
  if KEYS[3] then call('SET', KEYS[3], result, 'PX', ARGV[15]) end
  first = math.max(first, last + 1 - most)
  if bytes > most_bytes then
    trim(16, most_bytes - most_bytes / 32)
  elseif first - base >= 64 then
    trim(16, most_bytes)
  end
  redis.pcall(ARGV[8], ARGV[9], head .. messages)
end
save('live' .. run, now)
save(slot, batch .. ' ' .. result)
save_all()
if now >= due then
  saved = {'HSET', state}
  trim(64, most_bytes)
  tend()
  save_all()
end
return tonumber(result)
