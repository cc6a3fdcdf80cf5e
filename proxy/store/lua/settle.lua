-- Give holds back, book their costs, write their rows: each exactly once per id (`budget.settled`), one after the other.
-- ARGV[5] in JSON: whether they are handed over in a recovery, and of each: id, the row's time or 0, whether it is an
-- orphan's, cost, unproven, limits (`tell`), scopes; [6] their rows, a line each, without the time where that is 0.
-- Returns the head, then for each its row's time and the alerts that were set off: {which limit (from 1), percent,
-- spent, held, unproven}; or an error, which is its own. What is handed over sets off none: it was told before.
local handed, each = unpack(cjson.decode(ARGV[5]))
local state, epoch = standing(handed)
if state == 'lost' or (state == 'recovering' and not handed) then
  return {state}
end
local count = mark()

local function settle(row_given, id, named, orphan, cost, unproven, limits, scopes)
  local known = call('HGET', P .. ':hold', id)
  local hold = known and cjson.decode(known)
  local before_at = tonumber(call('GET', P .. ':at:' .. id) or (named > 0 and named) or NOW)
  local before_name = ledger(before_at)
  local row = call('HGET', P .. ':' .. before_name, id)
  -- A quote inside of a text is escaped in JSON, so this can only be the key.
  local replaced = row and not orphan and string.find(row, '"orphan":true', 1, true)
  local at = named > 0 and named or tonumber(hold and hold[2] or before_at)

  if hold then
    book(tonumber(hold[2]), {unpack(hold, 4)}, '|h', -hold[1])
    call('HDEL', P .. ':hold', id)
    call('ZREM', P .. ':holds', id)
  end
  if row and not replaced then
    return {before_at}
  end
  if replaced then
    local before, counted = cjson.decode(row), {'all'}  -- decoding is exact below 2^53; encoding numbers would not be
    for _, dimension in ipairs({'provider', 'model', 'key', 'user', 'agent'}) do
      counted[#counted + 1] = dimension .. '=' .. (before[dimension] or '')
    end
    if (before.team or '') ~= '' then
      counted[#counted + 1] = 'team=' .. before.team
    end
    book(before_at, counted, '|s', -(tonumber(before.cost) or 0))
    book(before_at, counted, '|u', -(before.unproven or 0))
    call('HDEL', P .. ':' .. before_name, id)
  end
  book(at, scopes, '|s', cost)
  book(at, scopes, '|u', unproven)
  local name = ledger(at)
  call('HSET', P .. ':' .. name, id, named > 0 and row_given or dated(row_given, at))
  if call('HLEN', P .. ':' .. name) == 1 then
    born(name, at)
  end
  -- Who names the time of a row names it each time alike, but for those who got no answer to their hold.
  call('SET', P .. ':at:' .. id, at, 'EX', (orphan or named == 0) and KEEP or 3 * DAY / 1000)

  local told, here = {at}, labels(at)
  for i, limit in ipairs(limits) do
    local label = here[limit[2]]
    local spent, held, loose = counter(label, limit[1])
    for n = 4, #limit do
      local percent, amount = limit[n][1], limit[n][2]
      if spent + loose >= amount and tell(limit, label, percent, at) and not handed then
        told[#told + 1] = {i, percent, spent, held, loose}
      end
    end
  end
  return told
end

local reply, line = {state, epoch, count}, string.gmatch(ARGV[6], '[^\n]+')
for n, words in ipairs(each) do
  local done, told = pcall(settle, line(), unpack(words))
  if not done then  -- a table since Redis 7, before that a text
    told = redis.error_reply(type(told) == 'table' and told.err or tostring(told))
  end
  reply[3 + n] = told
end
return reply
