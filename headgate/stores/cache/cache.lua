-- Cached answers: one hash for each entry, one for what was purged, one for what was counted.
--
-- KEYS  1 purges, 2 counts, 3 the entry, the claim, or one that is never there
-- entry    h head, b body, u URL, s moment it was asked for behind, m marks of its URL and tags ("17,4,9")
-- purges   n moment, born the first of them, all moment of the last purge of everything, m<mark> of a URL or a tag,
--          p<number> and q<number> the last prefixes and their moments, pn how many there were, pm the last one's moment
--
-- Law: a moment begins with the server's time in microseconds, so that one behind a loss of all keys is later than any
-- before it, and what was asked for before the loss is dead.

local MOST_PREFIXES = 32

local purges, counts, key = KEYS[1], KEYS[2], KEYS[3]

local function moment()
  local found = redis.call('HGET', purges, 'n')
  if not found then
    local time = redis.call('TIME')
    found = string.format('%.0f', time[1] * 1000000 + time[2])
    redis.call('HSET', purges, 'n', found, 'born', found)
  end
  return found
end

local function is_dead(since, marks)
  local fields = {'born', 'all'}
  for mark in string.gmatch(marks, '[^,]+') do
    fields[#fields + 1] = 'm' .. mark
  end
  for _, found in ipairs(redis.call('HMGET', purges, unpack(fields))) do
    if found and tonumber(found) > since then
      return true
    end
  end
  return false
end

local function is_named(url, since)
  local last, count = unpack(redis.call('HMGET', purges, 'pm', 'pn'))
  if not last or tonumber(last) <= since then
    return false
  end
  for number = 0, MOST_PREFIXES - 1 do
    local at, prefix = unpack(redis.call('HMGET', purges, 'q' .. number, 'p' .. number))
    if at and tonumber(at) > since and string.sub(url, 1, #prefix) == prefix then
      return true
    end
  end
  -- It has seen more of them go by than are known.
  local oldest = redis.call('HGET', purges, 'q' .. tonumber(count) % MOST_PREFIXES)
  return oldest and tonumber(oldest) > since
end

-- The first write is the one that a server without memory refuses; behind any other it would let it pass.
local function put(since, keep, head, body, url, marks)
  if not is_dead(since, marks) and not is_named(url, since) then
    local done = redis.pcall('HSET', key, 'h', head, 'b', body, 'u', url, 's', string.format('%.0f', since), 'm', marks)
    if type(done) ~= 'table' then
      redis.call('PEXPIRE', key, keep)
      redis.call('HINCRBY', counts, 'stored', 1)
      return
    end
  end
  redis.call('DEL', key)
  redis.pcall('HINCRBY', counts, 'refused', 1)
end

local does = {}

-- To write needs no memory here: of a server that is full, what is there can be read.
function does.trial()
  return redis.call('DEL', KEYS[1])
end

function does.get()
  local now = moment()
  local head, body, since, marks = unpack(redis.call('HMGET', key, 'h', 'b', 's', 'm'))
  if not head or not marks then
    return {now}
  end
  if is_dead(tonumber(since), marks) then
    redis.call('DEL', key)
    return {now}
  end
  return {now, head, body}
end

function does.put(since, keep, head, body, url, marks)
  moment()
  put(tonumber(since), keep, head, body, url, marks)
  return 1
end

function does.renew(since, keep, head, body, url, marks, before)
  moment()
  local found, at, those = unpack(redis.call('HMGET', key, 'h', 's', 'm'))
  if found == before and those and not is_dead(tonumber(at), those) then
    put(tonumber(since), keep, head, body, url, marks)
  end
  return 1
end

function does.claim(owner, keep)
  local found = redis.call('GET', key)
  if found and found ~= owner then
    return 0
  end
  redis.call('SET', key, owner, 'PX', keep)
  return 1
end

function does.yield(owner)
  if redis.call('GET', key) == owner then
    redis.call('DEL', key)
  end
  return 1
end

function does.purge(scope, value)
  -- Nothing is there; but behind a write a server without memory lets others pass, and a purge must not be lost.
  redis.call('DEL', key)
  moment()
  local now = string.format('%.0f', redis.call('HINCRBY', purges, 'n', 1))
  if scope == 'all' then
    redis.call('HSET', purges, 'all', now)
  elseif scope == 'prefix' then
    local number = (tonumber(redis.call('HINCRBY', purges, 'pn', 1)) - 1) % MOST_PREFIXES
    redis.call('HSET', purges, 'p' .. number, value, 'q' .. number, now, 'pm', now)
  else
    redis.call('HSET', purges, 'm' .. value, now)
  end
  return now
end

-- One step of a look through all entries: those that a purge names go. `value` is a URL, a prefix, or a tag's mark.
function does.sweep(cursor, pattern, scope, value, now)
  local scanned = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', 500)
  local found = 0
  for _, each in ipairs(scanned[2]) do
    local url, since, marks = unpack(redis.call('HMGET', each, 'u', 's', 'm'))
    if url and marks and since and tonumber(since) < tonumber(now) then
      local meant = scope == 'all'
        or scope == 'prefix' and string.sub(url, 1, #value) == value
        or scope == 'url' and url == value
        or scope == 'tag' and string.find(',' .. string.match(marks, '^[^,]*,?(.*)$') .. ',', ',' .. value .. ',', 1, true)
      if meant then
        redis.call('DEL', each)
        found = found + 1
      end
    end
  end
  redis.pcall('HINCRBY', counts, 'purged', found)
  return {scanned[1], found}
end

function does.statistics()
  return redis.call('HMGET', counts, 'stored', 'refused', 'purged')
end

return does[ARGV[1]](unpack(ARGV, 2))
