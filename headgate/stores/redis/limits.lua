-- Groups of limits, one record under each key: the twin of headgate/policy/limit, bit for bit.
--
-- KEYS    one for each group
-- ARGV    operation, owner, then for each group: limits, shadow (1 or 0), and for each of its limits: code, cost, its
--         numbers; at last `now` in microseconds, or nothing for the server's own time
-- admit   -> for each group: 1 or 0, and three numbers for each limit (raw); unless all groups but shadow ones admit,
--            none is changed but shadow ones, which count by themselves
-- settle  -> 1; charges each cost, negative ones give back
-- undo    -> as admit: takes back what an admit counted a moment ago, and tells what holds without it
-- trial   -> 1; proves that keys can be written
--
-- Everything is below 2^53, where doubles are exact. Every key carries a time to live.

local floor, max, min = math.floor, math.max, math.min
local pack, unpack_ = struct.pack, struct.unpack
local sub, rep = string.sub, string.rep

local LONGEST = 2251799813685248
local MOST_COUNT = 2147483647
local COSTS = 2147483648
-- With the caller's time in place of the server's the two need not go at the same pace.
local MARGIN = 60000

local owner = tonumber(ARGV[2])
local now = tonumber(ARGV[#ARGV])
local margin = MARGIN
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  margin = 0
end

-- gcra: token_bucket and leaky_bucket -----------------------------------------------------------------------------
-- numbers: step, step_part, parts, room, room_part, max_delay, most

local gcra = {count = 7}

local function gcra_turn(state)
  if #state == 12 then
    local turn, part = unpack_('<i8I4', state)
    if turn >= now then return turn, part end
  end
  return now, 0
end

function gcra.admit(state, cost, n)
  local turn, part = gcra_turn(state)
  local ahead = turn - now
  local after = ahead + cost * n[1]
  local after_part = part + cost * n[2]
  if after_part >= n[3] then
    after = after + floor(after_part / n[3])
    after_part = after_part % n[3]
  end
  if after > n[4] or (after == n[4] and after_part > n[5])
    or (n[6] > 0 and (ahead > n[6] or (ahead == n[6] and part > 0))) then
    return false, state, ahead, part, cost
  end
  if cost > 0 then state = pack('<i8I4', now + after, after_part) end
  return true, state, after, after_part, cost
end

function gcra.settle(state, amount, n)
  if amount == 0 then return state end
  local turn, part = gcra_turn(state)
  local units = max(-n[7], min(n[7], amount))
  local total = part + units * n[2]
  local carry = floor(total / n[3])
  part = total - carry * n[3]
  local ahead = turn - now + units * n[1] + carry
  if ahead > LONGEST then return pack('<i8I4', now + LONGEST, 0) end
  if ahead < 0 or (ahead == 0 and part == 0) then return '' end
  return pack('<i8I4', now + ahead, part)
end

function gcra.expires(state)
  if #state ~= 12 then return now end
  local moment, part = unpack_('<i8I4', state)
  if part > 0 then return moment + 1 end
  return moment
end

-- sliding_window by two counters ----------------------------------------------------------------------------------
-- numbers: limit, window, tick, ticks

local sliding = {count = 4}

function sliding.admit(state, cost, n)
  local start, current, previous, elapsed = now, 0, 0, 0
  if #state == 16 then
    start, current, previous = unpack_('<i8I4I4', state)
    elapsed = now - start
    if elapsed >= n[2] then
      elapsed = elapsed - n[2]
      start = start + n[2]
      previous = current
      current = 0
      if elapsed >= n[2] then start, previous, elapsed = now, 0, 0 end
    elseif elapsed < 0 then
      elapsed = 0
    end
  end
  if previous * (n[4] - floor(elapsed / n[3])) > (n[1] - current - cost) * n[4] then
    return false, state, current + COSTS * cost, previous, elapsed
  end
  current = current + cost
  if cost > 0 then state = pack('<i8I4I4', start, current, previous) end
  return true, state, current, previous, elapsed
end

function sliding.settle(state, amount, n)
  if amount == 0 then return state end
  local start, current, previous = now, 0, 0
  if #state == 16 then
    start, current, previous = unpack_('<i8I4I4', state)
    if now >= start + 2 * n[2] then
      start, current, previous = now, 0, 0
    elseif now >= start + n[2] then
      start, current, previous = start + n[2], 0, current
    end
  end
  current = min(current + amount, MOST_COUNT)
  if current < 0 then
    previous = max(0, previous + current)
    current = 0
  end
  if current == 0 and previous == 0 then return '' end
  return pack('<i8I4I4', start, current, previous)
end

function sliding.expires(state, n)
  if #state ~= 16 then return now end
  local start = unpack_('<i8', state)
  return start + 2 * n[2]
end

-- sliding_window by a log -----------------------------------------------------------------------------------------
-- numbers: limit, window

local log = {count = 2}

local function is_log(state, n)
  return #state > 0 and #state <= (n[1] + 1) * 8 and #state % 8 == 0
end

local function moment(state, index)
  return (unpack_('<i8', state, index * 8 + 1))
end

-- How many moments are not after `time`.
local function not_after(state, time)
  local low, high = 0, #state / 8
  while low < high do
    local middle = floor((low + high) / 2)
    if time < moment(state, middle) then high = middle else low = middle + 1 end
  end
  return low
end

function log.admit(state, cost, n)
  local limit, window = n[1], n[2]
  if not is_log(state, n) then
    if cost > limit then return false, state, 0, 0, -1 end
    if cost == 0 then return true, state, 0, 0, 0 end
    return true, rep(pack('<i8', now), cost), cost, window, 0
  end
  local size = #state / 8
  local newest = moment(state, size - 1)
  local at = max(now, newest)
  local past = 0
  if moment(state, 0) <= at - window then past = not_after(state, at - window) end
  local count = size - past
  local left = 0
  if count > 0 then left = newest + window - at end
  if count + cost > limit then
    if cost > limit then return false, state, count, left, -1 end
    return false, state, count, left, moment(state, past + count + cost - limit - 1) + window - at
  end
  if cost == 0 then return true, state, count, left, 0 end
  return true, sub(state, past * 8 + 1) .. rep(pack('<i8', at), cost), count + cost, window, 0
end

function log.settle(state, amount, n)
  if amount == 0 then return state end
  local at, past = now, 0
  if is_log(state, n) then
    at = max(now, moment(state, #state / 8 - 1))
    past = not_after(state, at - n[2])
  else
    state = ''
  end
  if amount < 0 then return sub(state, (past - amount) * 8 + 1) end
  return sub(sub(state, past * 8 + 1) .. rep(pack('<i8', at), min(amount, n[1] + 1)), -(n[1] + 1) * 8)
end

-- What was counted a moment ago is the newest.
function log.undo(state, cost)
  return sub(state, 1, max(0, #state - cost * 8))
end

function log.expires(state, n)
  if not is_log(state, n) then return now end
  return moment(state, #state / 8 - 1) + n[2]
end

-- fixed_window ----------------------------------------------------------------------------------------------------
-- numbers: limit, window

local fixed = {count = 2}

function fixed.admit(state, cost, n)
  local opened, count, left = now, 0, 0
  if #state == 12 then
    opened, count = unpack_('<i8I4', state)
    left = opened + n[2] - now
    if left <= 0 then
      opened, count, left = now, 0, 0
    elseif left > n[2] then
      left = n[2]
    end
  end
  if count + cost > n[1] then return false, state, count, left, cost end
  if cost == 0 then return true, state, count, left, 0 end
  if left == 0 then left = n[2] end
  return true, pack('<i8I4', opened, count + cost), count + cost, left, cost
end

function fixed.settle(state, amount, n)
  if amount == 0 then return state end
  local opened, count = now, 0
  if #state == 12 then
    opened, count = unpack_('<i8I4', state)
    if now >= opened + n[2] then opened, count = now, 0 end
  end
  count = min(count + amount, MOST_COUNT)
  if count <= 0 then return '' end
  return pack('<i8I4', opened, count)
end

function fixed.expires(state, n)
  if #state ~= 12 then return now end
  return unpack_('<i8', state) + n[2]
end

-- concurrency -----------------------------------------------------------------------------------------------------
-- numbers: limit, lease, most owners

local concurrency = {count = 3}

-- The entries of others that count, the own count and when it was renewed, and the count of all.
local function holders(state, n)
  local others, own, own_renewed, total = {}, 0, 0, 0
  if #state % 20 ~= 0 then return '', 0, 0, 0 end
  for place = 1, #state, 20 do
    local holder, count, renewed = unpack_('<i8I4i8', state, place)
    if renewed > now - n[2] then
      total = total + count
      if holder == owner then
        own, own_renewed = count, renewed
      else
        others[#others + 1] = sub(state, place, place + 19)
      end
    end
  end
  return table.concat(others), own, own_renewed, total
end

function concurrency.admit(state, cost, n)
  local others, own, renewed, count = holders(state, n)
  if count + cost > n[1] or (cost > 0 and own == 0 and #others >= n[3] * 20) then
    return false, state, count, cost, 1
  end
  if cost == 0 then return true, state, count, 0, 0 end
  return true, others .. pack('<i8I4i8', owner, own + cost, max(now, renewed)), count + cost, cost, 0
end

function concurrency.settle(state, amount, n)
  local others, own, renewed = holders(state, n)
  local counted = min(own + amount, MOST_COUNT)
  if counted <= 0 or (own == 0 and #others >= n[3] * 20) then return others end
  return others .. pack('<i8I4i8', owner, counted, max(now, renewed))
end

function concurrency.expires(state, n)
  if #state == 0 or #state % 20 ~= 0 then return now end
  local last
  for place = 13, #state, 20 do
    local renewed = unpack_('<i8', state, place)
    if not last or renewed > last then last = renewed end
  end
  return last + n[2]
end

-- groups ----------------------------------------------------------------------------------------------------------

local ALGORITHMS = {gcra, sliding, log, fixed, concurrency}

-- The limits of a group, which stand in ARGV from `at` on; and where the next group's stand.
local function read_group(at)
  local group = {shadow = ARGV[at + 1] == '1'}
  local limits = tonumber(ARGV[at])
  at = at + 2
  for index = 1, limits do
    local algorithm = ALGORITHMS[tonumber(ARGV[at])]
    local numbers = {}
    for place = 1, algorithm.count do numbers[place] = tonumber(ARGV[at + 1 + place]) end
    group[index] = {algorithm = algorithm, cost = tonumber(ARGV[at + 1]), numbers = numbers}
    at = at + 2 + algorithm.count
  end
  return group, at
end

local function split(group, record)
  if #group == 1 then return {record} end
  local states, place = {}, 1
  for index = 1, #group do
    local length = 0
    if place + 1 <= #record then length = unpack_('<I2', record, place) end
    states[index] = sub(record, place + 2, place + 1 + length)
    place = place + 2 + length
  end
  if place ~= #record + 1 then
    for index = 1, #group do states[index] = '' end
  end
  return states
end

local function join(group, states)
  if #group == 1 then return states[1] end
  local record, empty = {}, true
  for index = 1, #group do
    record[index] = pack('<I2', #states[index]) .. states[index]
    if states[index] ~= '' then empty = false end
  end
  if empty then return '' end
  return table.concat(record)
end

local function tell(group, index, a, b, c)
  group.raws[index * 3 - 2], group.raws[index * 3 - 1], group.raws[index * 3] = a, b, c
end

-- What a limit has to tell when nothing is asked of it.
local function look(group, index)
  local limit = group[index]
  local _, _, a, b, c = limit.algorithm.admit(group.old[index], 0, limit.numbers)
  tell(group, index, a, b, c)
end

local function admit(group)
  group.allowed, group.raws, group.new = true, {}, {}
  for index, limit in ipairs(group) do
    local admitted, state, a, b, c = limit.algorithm.admit(group.old[index], max(0, limit.cost), limit.numbers)
    if limit.cost < 0 then
      state = group.old[index]
    elseif not admitted then
      group.allowed = false
    end
    group.new[index] = state
    tell(group, index, a, b, c)
  end
  if not group.allowed then
    for index = 1, #group do
      if group.new[index] ~= group.old[index] then look(group, index) end
    end
    group.new = group.old
  end
end

local function keep(key, group)
  local changed = false
  for index = 1, #group do
    if group.new[index] ~= group.old[index] then changed = true end
  end
  if not changed then return end
  local record = join(group, group.new)
  if record == '' then return redis.call('DEL', key) end
  local expires = now
  for index, limit in ipairs(group) do
    expires = max(expires, limit.algorithm.expires(group.new[index], limit.numbers))
  end
  local life = max(1, math.ceil((expires - now) / 1000)) + margin
  redis.call('SET', key, record, 'PX', string.format('%.0f', life))
end

local function answer(groups)
  local numbers = {}
  for _, group in ipairs(groups) do
    numbers[#numbers + 1] = group.allowed and 1 or 0
    for index = 1, #group * 3 do numbers[#numbers + 1] = group.raws[index] end
  end
  return numbers
end

local operation = ARGV[1]
if operation == 'trial' then
  redis.call('SET', KEYS[1], '', 'PX', '1000')
  return 1
end

local groups, at = {}, 3
for index, key in ipairs(KEYS) do
  local group
  group, at = read_group(at)
  local record = redis.pcall('GET', key)
  -- False: there is none; a table: what is there is no string.
  group.old = split(group, type(record) == 'string' and record or '')
  groups[index] = group
end

if operation == 'admit' then
  local all = true
  for _, group in ipairs(groups) do
    admit(group)
    if not group.allowed and not group.shadow then all = false end
  end
  for index, group in ipairs(groups) do
    if all or group.shadow then
      keep(KEYS[index], group)
    elseif group.allowed then
      for place = 1, #group do look(group, place) end
    end
  end
  return answer(groups)
end

for index, group in ipairs(groups) do
  group.new, group.raws, group.allowed = {}, {}, true
  for place, limit in ipairs(group) do
    if operation == 'undo' then
      local cost = max(0, limit.cost)
      local undo = limit.algorithm.undo
      group.new[place] = undo and undo(group.old[place], cost) or limit.algorithm.settle(group.old[place], -cost, limit.numbers)
    else
      group.new[place] = limit.algorithm.settle(group.old[place], limit.cost, limit.numbers)
    end
  end
  keep(KEYS[index], group)
  if operation == 'undo' then
    group.old = group.new
    for place = 1, #group do look(group, place) end
  end
end
return operation == 'undo' and answer(groups) or 1
