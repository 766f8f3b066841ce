-- Exclusive groups: one script keeps the lease, carries out claims and releases, and grants. See holds.go.
--
-- Every key begins with `root`. An owner is an instance for as long as its lease lasts without a break:
-- <node, 8 digits>.<run, 16 digits>.<epoch>. A place is <client, 36 characters><owner>.
--   state           hash: server (run_id), grace (nothing is granted until then), last (term), epoch, ticket, swept
--   lease:<node>    string with a TTL: the rest of the owner
--   owners          set of owners that may have entries
--   entries:<owner> hash: <client><group> = term, 0 while it waits
--   grants:<owner>  list of <client><group>: news for the owner
--   records         hash: group = <term> <place> of the holder, empty without one
--   queue:<group>   sorted set of the places that wait, by ticket
--   vacant          set of groups without a holder in which a client may wait
--
-- KEYS: state. ARGV: root, node, run, epoch (0: a new one), ttl in ms, most waiters, number of operations (-1: only the
-- server is compared), and for each: C (claim), R (release) or H (hand over), client, group, and for H the client that takes
-- over and its node.
-- Reply: 'ok' or why not, the epoch, whether to call again at once, for each operation 'ok', 'full', 'handed' or 'kept', the number of
-- grants, for each of these client and group in one and the term, then the nodes that have news.
local root, node, run, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local state, owners, records, vacant = root .. 'state', root .. 'owners', root .. 'records', root .. 'vacant'
local most_waiters = tonumber(ARGV[6])
local batch = 256 -- of grants, and of entries of dead owners, in one call

local call = redis.call
local function number(n) return string.format('%.0f', n) end
local t = call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)

-- Another process than the one that wrote the state, or none: all that is there may be old, and what was granted last
-- may be missing. Former leases are over after ttl.
local server = string.match(call('INFO', 'server'), 'run_id:(%x+)')
if not server then return {'no run_id'} end
local known = call('HMGET', state, 'server', 'grace')
local grace = tonumber(known[2] or 0)
if known[1] ~= server then
  for _, group in ipairs(call('HKEYS', records)) do call('DEL', root .. 'queue:' .. group) end
  for _, owner in ipairs(call('SMEMBERS', owners)) do
    call('DEL', root .. 'entries:' .. owner, root .. 'grants:' .. owner, root .. 'lease:' .. string.sub(owner, 1, 8))
  end
  call('DEL', owners, records, vacant)
  grace = now + ttl
  call('HSET', state, 'server', server, 'grace', number(grace))
elseif grace > now + ttl then -- the clock was set back
  grace = now + ttl
  call('HSET', state, 'grace', number(grace))
end

if ARGV[7] == '-1' then return {'ok', '0', '0', '0', '0'} end

-- The own lease, under the epoch that the caller knows or a new one.
local lease = root .. 'lease:' .. node
local epoch = ARGV[4]
if epoch ~= '0' and call('GET', lease) == run .. '.' .. epoch then
  call('PEXPIRE', lease, ttl)
else
  epoch = number(math.max(tonumber(call('HGET', state, 'epoch') or 0) + 1, now))
  call('HSET', state, 'epoch', epoch)
  call('SET', lease, run .. '.' .. epoch, 'PX', ttl)
  call('SADD', owners, node .. '.' .. run .. '.' .. epoch)
end
local self = node .. '.' .. run .. '.' .. epoch
local kept = epoch == ARGV[4]

local living = {[self] = true}
local function alive(owner)
  if living[owner] == nil then
    living[owner] = call('GET', root .. 'lease:' .. string.sub(owner, 1, 8)) == string.sub(owner, 10)
  end
  return living[owner]
end

local news = {}
local function give(group, place)
  local client, owner = string.sub(place, 1, 36), string.sub(place, 37)
  local term = number(math.max(tonumber(call('HGET', state, 'last') or 0) + 1, now))
  call('HSET', state, 'last', term)
  call('HSET', records, group, term .. ' ' .. place)
  call('SREM', vacant, group)
  call('HSET', root .. 'entries:' .. owner, client .. group, term)
  call('RPUSH', root .. 'grants:' .. owner, client .. group)
  news[string.sub(owner, 1, 8)] = true
end

-- The group has no holder: the first that waits and whose owner lives gets it.
local function grant(group)
  local queue = root .. 'queue:' .. group
  while true do
    local place = call('ZRANGE', queue, 0, 0)[1]
    if not place then
      call('HDEL', records, group)
      call('SREM', vacant, group)
      return
    end
    if now < grace then
      call('HSET', records, group, '')
      call('SADD', vacant, group)
      return
    end
    call('ZREM', queue, place)
    local owner = string.sub(place, 37)
    if alive(owner) then return give(group, place) end
    call('HDEL', root .. 'entries:' .. owner, string.sub(place, 1, 36) .. group)
  end
end

local function holder(group)
  local record = call('HGET', records, group)
  if not record or record == '' then return end
  return string.sub(record, string.find(record, ' ', 1, true) + 1)
end

-- The entry of an owner is over.
local function drop(owner, field, term)
  local client, group = string.sub(field, 1, 36), string.sub(field, 37)
  call('HDEL', root .. 'entries:' .. owner, field)
  if term == '0' then
    call('ZREM', root .. 'queue:' .. group, client .. owner)
    if not holder(group) then grant(group) end -- it forgets a group in which no client waits
  elseif holder(group) == client .. owner then
    grant(group)
  end
end

-- A holder of this instance hands over, if the other one waits.
local function hand(client, group, to, at)
  local rest = call('GET', root .. 'lease:' .. at)
  if holder(group) ~= client .. self or not rest then return 'kept' end
  local place = to .. at .. '.' .. rest
  if call('ZREM', root .. 'queue:' .. group, place) == 0 then return 'kept' end
  call('HDEL', root .. 'entries:' .. self, client .. group)
  give(group, place)
  return 'handed'
end

local function claim(client, group)
  local entries, field = root .. 'entries:' .. self, client .. group
  if call('HGET', entries, field) then return 'ok' end -- sent again
  local queue = root .. 'queue:' .. group
  if call('ZCARD', queue) >= most_waiters then return 'full' end
  call('ZADD', queue, call('HINCRBY', state, 'ticket', 1), client .. self)
  call('HSET', entries, field, '0')
  local held = holder(group)
  if not held or not alive(string.sub(held, 37)) then grant(group) end
  return 'ok'
end

local results = {}
local at = 8
for _ = 1, tonumber(ARGV[7]) do
  local client, group = ARGV[at + 1], ARGV[at + 2]
  if not kept then
    results[#results + 1] = 'again' -- under the new epoch
  elseif ARGV[at] == 'C' then
    results[#results + 1] = claim(client, group)
  elseif ARGV[at] == 'H' then
    results[#results + 1] = hand(client, group, ARGV[at + 3], ARGV[at + 4])
  else
    local term = call('HGET', root .. 'entries:' .. self, client .. group)
    if term then drop(self, client .. group, term) end
    results[#results + 1] = 'ok'
  end
  at = at + 5
end

-- What ended without a word, a few times in a lease, whichever instance comes first.
local more = '0'
local swept = tonumber(call('HGET', state, 'swept') or 0)
if now >= swept + ttl / 8 or now < swept then
  local left = batch
  for _, owner in ipairs(call('SMEMBERS', owners)) do
    if left > 0 and not alive(owner) then
      local entries = root .. 'entries:' .. owner
      local found = call('HSCAN', entries, '0', 'COUNT', left)[2]
      for i = 1, #found, 2 do drop(owner, found[i], found[i + 1]) end
      left = left - #found / 2
      if call('HLEN', entries) == 0 then
        call('DEL', root .. 'grants:' .. owner)
        call('SREM', owners, owner)
      end
    end
  end
  if now >= grace and left > 0 then
    local groups = call('SRANDMEMBER', vacant, left)
    for _, group in ipairs(groups) do
      if holder(group) then call('SREM', vacant, group) else grant(group) end
    end
    left = left - #groups
  end
  if left <= 0 then more = '1' else call('HSET', state, 'swept', number(now)) end
end

local reply = {'ok', epoch, more, number(#results)}
for _, r in ipairs(results) do reply[#reply + 1] = r end
local grants = {}
for _ = 1, batch do
  local field = call('LPOP', root .. 'grants:' .. self)
  if not field then break end
  local term = call('HGET', root .. 'entries:' .. self, field)
  if term and term ~= '0' then
    grants[#grants + 1] = field
    grants[#grants + 1] = term
  end
end
reply[#reply + 1] = number(#grants / 2)
for _, g in ipairs(grants) do reply[#reply + 1] = g end
if #grants / 2 >= batch then reply[3] = '1' end
for n in pairs(news) do
  if n ~= node then reply[#reply + 1] = n end
end
return reply
