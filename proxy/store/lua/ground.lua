-- The ground of every act on money; it stands before each act's own script: clock, calendar, epoch, counters.
--
-- KEYS[1] the prefix "{tollhouse}". All other keys are made from it here, since which window an act counts in depends on
-- the server's own clock; the braces keep them in one hash slot, so one script may touch them all.
-- ARGV[1] this replica; ARGV[2] the epoch it knew when it sent this, or "" ; ARGV[3] seconds for which windows are kept;
-- ARGV[4] how many of its acts it knew done. An act's own arguments follow.
-- Returns {"lost"}, or {"recovering"}, or {state, epoch, acts of this replica, ...}.
--
-- Numbers of Lua are doubles, exact below 2^53; amounts go in and out as text ("%.0f") or as integers.
--
-- <prefix>:epoch             hash: id, began, state (open | recovering), until, latest, patience, missing, n:<replica>
-- <prefix>:awaited           zset: replicas that have not handed over yet, by when they were last heard
-- <prefix>:done              set: replicas that have
-- <prefix>:replicas          zset: all replicas, by their last beat
-- <prefix>:hold              hash: id to [amount, at, row, scopes...], all text; <prefix>:holds the ids by expiry
-- <prefix>:spend:<label>     hash: <scope>|s spent, |h held, |u unproven; a scope may hold any text, the end tells
-- <prefix>:said:<label>      hash: alerts that were set off
-- <prefix>:ledger:<hour>     hash: id to row
-- <prefix>:feedback          hash: id of a request to what was said of it; <prefix>:judged the ids by time
-- <prefix>:at:<id>           the time of a row, for as long as another one may come that names another time
-- <prefix>:index             zset: the windows and hours above, by the start of the hour in which they began
local P, ME, EPOCH, KEEP, KNOWN = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local HOUR, DAY = 3600000, 86400000
local call, floor = redis.call, math.floor
local clock = call('TIME')
local NOW = clock[1] * 1000 + floor(clock[2] / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

-- The date of a day since 1970, in integers: eras of 400 years, years that begin in March. Reckoned once for a day.
local dates = {}
local function civil(day)
  if dates[day] then
    return dates[day]
  end
  local shifted = day + 719468
  local era = floor(shifted / 146097)
  local n = shifted - era * 146097
  local year = floor((n - floor(n / 1460) + floor(n / 36524) - floor(n / 146096)) / 365)
  local days = n - (365 * year + floor(year / 4) - floor(year / 100))
  local month = floor((5 * days + 2) / 153)
  local date = days - floor((153 * month + 2) / 5) + 1
  month = month < 10 and month + 3 or month - 9
  dates[day] = string.format('%04d-%02d-%02d', year + era * 400 + (month <= 2 and 1 or 0), month, date)
  return dates[day]
end

local function labels(at)
  local date = civil(floor(at / DAY))
  return {day = 'day:' .. date, month = 'month:' .. string.sub(date, 1, 7)}
end

local function ledger(at)
  return 'ledger:' .. civil(floor(at / DAY)) .. string.format('T%02d', floor(at % DAY / HOUR))
end

-- The epoch -------------------------------------------------------------------------------------------------------

-- Whether everybody has handed over who is still waited for; then the epoch is open.
local function opened()
  local times = call('HMGET', P .. ':epoch', 'until', 'latest', 'patience')
  if NOW < tonumber(times[1]) then
    return false
  end
  local quiet = '(' .. whole(NOW - times[3])
  if NOW < tonumber(times[2]) and call('ZCOUNT', P .. ':awaited', quiet, '+inf') > 0 then
    return false
  end
  local missing = table.concat(call('ZRANGE', P .. ':awaited', 0, -1), '\n')
  call('HSET', P .. ':epoch', 'state', 'open', 'missing', missing)
  call('DEL', P .. ':awaited')
  return true
end

local function heard()
  call('ZADD', P .. ':awaited', 'XX', NOW, ME)
  call('ZADD', P .. ':replicas', NOW, ME)
end

-- A replica that is new takes a settled epoch as it is. A young one may be young since the store forgot: what the
-- replica's journal delivered to the one before has to be handed over.
local function stranger(state, began)
  return (state == 'recovering' or NOW - began < DAY) and call('SISMEMBER', P .. ':done', ME) == 0
end

-- "lost" if this is not the store that the replica knew, else the state of the epoch, and its id. Each replica counts
-- its own acts: a store that lost any act lost the last act of some replica, which that replica sees.
-- Who is `handing` over is not silent.
local function standing(handing)
  local found = call('HMGET', P .. ':epoch', 'id', 'state', 'n:' .. ME, 'began')
  local id, state = found[1], found[2]
  if not id or (EPOCH ~= '' and (id ~= EPOCH or tonumber(found[3] or 0) < KNOWN)) then
    return 'lost'
  end
  if handing then
    heard()
  end
  if state == 'recovering' and opened() then
    state = 'open'
  end
  if EPOCH == '' and stranger(state, found[4]) then
    return 'lost'
  end
  return state, id
end

local function mark()
  return call('HINCRBY', P .. ':epoch', 'n:' .. ME, 1)
end

-- Counters --------------------------------------------------------------------------------------------------------

-- A window or an hour has begun: it is listed, and forgotten some day.
local function born(name, at)
  call('EXPIRE', P .. ':' .. name, KEEP)
  call('ZADD', P .. ':index', whole(at - at % HOUR), name)
end

-- Add to one kind of the counters of some scopes in both windows of a time: "|s", "|h" or "|u".
local function book(at, scopes, kind, amount)
  if amount == 0 then
    return
  end
  local names, text = labels(at), whole(amount)
  local day, month, total = P .. ':spend:' .. names.day, P .. ':spend:' .. names.month, nil
  for _, scope in ipairs(scopes) do
    local field = scope .. kind
    call('HINCRBY', month, field, text)
    local sum = call('HINCRBY', day, field, text)
    total = total or sum
  end
  if total == amount then  -- where a window is new, there was nothing
    for _, label in pairs(names) do
      if call('TTL', P .. ':spend:' .. label) == -1 then
        born('spend:' .. label, at)
      end
    end
  end
end

-- Spent, held, unproven.
local function counter(label, scope)
  local found = call('HMGET', P .. ':spend:' .. label, scope .. '|s', scope .. '|h', scope .. '|u')
  return tonumber(found[1] or 0), tonumber(found[2] or 0), tonumber(found[3] or 0)
end

-- Rest of ARGV from `first` on, as text.
local function rest(first)
  local found = {}
  for i = first, #ARGV do
    found[#found + 1] = ARGV[i]
  end
  return found
end

-- A limit is {scope, window, nano-dollars, {percent, amount that reaches it}...}, the lowest percent first.

-- Whether an alert is said for the first time (`budget.alert_key`).
local function tell(limit, label, percent, at)
  local name = 'said:' .. label
  local key = label .. '|' .. limit[1] .. '|' .. whole(limit[3]) .. '|' .. percent
  if call('HSETNX', P .. ':' .. name, key, '1') == 0 then
    return false
  end
  if call('HLEN', P .. ':' .. name) == 1 then
    born(name, at)
  end
  return true
end

-- A row as the client wrote it, without its time; with it.
local function dated(row, at)
  return '{"at":' .. whole(at) .. ',' .. string.sub(row, 2)
end
