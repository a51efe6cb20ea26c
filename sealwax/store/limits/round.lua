-- One process asks for many limits at once. Everything is counted on this server's clock.
--
-- KEYS[1]: prefix, with a hash tag. ARGV[1]: JSON, see sealwax/store/limits/redis.py. The keys below
-- are named after the run of this server, so that a restart with an old memory begins anew.
local ask = cjson.decode(ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local base = KEYS[1] .. ':' .. string.sub(run, 1, 12) .. ':'
local HOUR_MS = 3600000

local function ms(number)
  return string.format('%.3f', number)
end

-- Since when this memory is whole: nothing is granted until what was granted before is over. When
-- nobody has called for a while it is not: leases may have run out that are used all the same.
--
-- And since when rates are: after a shorter while processes have sent by themselves, and do so until
-- they have noticed that there are answers again. Buckets are empty then.
local kept = redis.call('GET', base .. 'since') or ''
local since, called, counts = string.match(kept, '(%S+) (%S+) (%S+)')
since, called, counts = tonumber(since), tonumber(called), tonumber(counts)
if not since or since > now or now - called > ask.forgets_ms then
  since, counts = now, now + ask.silent_ms
elseif now - called > ask.alone_ms then
  counts = math.max(counts, now + ask.noticed_ms)
end
counts = math.min(counts, now + ask.silent_ms) -- the clock was set back
local speaks_at = since + ask.silent_ms

-- The processes there are. With the last that leaves nothing is held, and nothing can be forgotten.
local members_key = base .. 'members'
redis.call('ZREMRANGEBYSCORE', members_key, '-inf', ms(now))
redis.call('ZREMRANGEBYSCORE', members_key, '(' .. ms(now + ask.permits_ms), '+inf')
if ask.leaves then
  redis.call('ZREM', members_key, ask.me)
else
  redis.call('ZADD', members_key, ms(now + ask.permits_ms), ask.me)
  redis.call('PEXPIRE', members_key, ask.permits_ms)
end
local members, rank = 0, 0
for _, id in ipairs(redis.call('ZRANGE', members_key, 0, -1)) do
  members = members + 1
  if id < ask.me then
    rank = rank + 1
  end
end
called = members > 0 and now or now + HOUR_MS
local keep = ms(since) .. ' ' .. ms(called) .. ' ' .. ms(counts)
redis.call('SET', base .. 'since', keep, 'PX', HOUR_MS)

-- One rate: {name, period, burst, tokens wanted, tokens held} -> {granted, ms until the first may be
-- used, ms until more can be had}. GCRA, as sealwax.policy.throttle.
local function grant_tokens(name, period, burst, wanted, held)
  local key = base .. 'rate:' .. name
  local slack = period * (burst - 1)
  local horizon, askers = 0, 1
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local value = tonumber(fields[i + 1])
    if fields[i] == '' then
      -- Further ahead it is only where the clock was set back: then the bucket is empty.
      horizon = value <= now + slack + ask.ahead_ms + period and value or now + slack
    elseif value < now - ask.ahead_ms * 2 or value > now then
      redis.call('HDEL', key, fields[i])
    elseif fields[i] ~= ask.me then
      askers = askers + 1
    end
  end
  local arrival = math.max(horizon, now, counts + slack)
  local stock = math.max(1, math.ceil(ask.stock_ms / period / askers)) - held
  local there = math.floor((now + ask.ahead_ms + slack - arrival) / period) + 1
  local granted = math.max(0, math.min(wanted, stock, there))
  local after = arrival + granted * period
  redis.call('HSET', key, ask.me, ms(now))
  if granted > 0 then
    redis.call('HSET', key, '', ms(after))
  end
  redis.call('PEXPIRE', key, math.ceil(math.max(0, after - now)) + ask.silent_ms)
  return { granted, arrival - slack - now, math.max(0, after - slack - now - ask.ahead_ms) }
end

-- What each of `wants` gets of `most`: the smallest wants first, nobody more than an equal part of
-- what is left. What cannot be divided goes round.
local function divide(most, wants)
  local turn = math.floor(now / ask.turn_ms)
  table.sort(wants, function(a, b) return a.id < b.id end)
  local equal = math.ceil(most / #wants)
  for i, one in ipairs(wants) do
    one.size = math.min(one.want, equal)
    one.place = (i + turn) % #wants
  end
  table.sort(wants, function(a, b)
    return a.size < b.size or (a.size == b.size and a.place < b.place)
  end)
  local left = most
  for i, one in ipairs(wants) do
    one.part = math.min(one.want, math.floor(left / (#wants - i + 1)))
    left = left - one.part
  end
  local mine = 0
  for _, one in ipairs(wants) do
    local more = math.min(one.want - one.part, left)
    left = left - more
    if one.id == ask.me then
      mine = one.part + more
    end
  end
  return mine
end

-- One limit of permits: {name, most, held, wanted} -> {held from now on, of which may be used}. What
-- a process says that it holds is a fact, though the sum may then be above the limit.
local function grant_permits(name, most, held, wanted)
  local key = base .. 'permits:' .. name
  local others, wants = 0, { { id = ask.me, want = wanted } }
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local id = fields[i]
    if id ~= ask.me then
      local has, want, till = string.match(fields[i + 1], '(%d+) (%d+) (%S+)')
      till = tonumber(till)
      if till <= now then
        redis.call('HDEL', key, id)
      else
        if till > now + ask.permits_ms then
          till = now + ask.permits_ms -- the clock was set back
          redis.call('HSET', key, id, has .. ' ' .. want .. ' ' .. ms(till))
        end
        others = others + has
        wants[#wants + 1] = { id = id, want = tonumber(want) }
      end
    end
  end
  if held == 0 and wanted == 0 then
    redis.call('HDEL', key, ask.me)
    return { 0, 0 }
  end
  local there = math.max(0, most - others)
  local granted, usable = held, math.min(held, there)
  if now >= speaks_at then
    local part = divide(most, wants)
    granted = math.max(held, math.min(part, there))
    usable = math.min(granted, there, part < wanted and part or granted)
  end
  redis.call('HSET', key, ask.me, string.format('%d %d %.3f', granted, wanted, now + ask.permits_ms))
  redis.call('PEXPIRE', key, ask.permits_ms)
  return { granted, usable }
end

local rates, permits = {}, {}
for i, one in ipairs(ask.rates) do
  rates[i] = grant_tokens(one[1], one[2], one[3], one[4], one[5])
end
for i, one in ipairs(ask.permits) do
  permits[i] = grant_permits(one[1], one[2], one[3], one[4])
end
return cjson.encode({
  since = ms(since),
  speaks = now >= speaks_at,
  members = members,
  rank = rank,
  rates = rates,
  permits = permits,
})
