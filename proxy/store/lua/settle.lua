-- Give a hold back, book the cost, write the row: exactly once per id (`budget.settled`).
-- ARGV[5] id; [6] the row's time, or "0"; [7] "1" for the row of an orphan; [8] cost; [9] unproven; [10] row without its
-- time; [11] "1" if it is handed over in a recovery; [12..] limits (`read_limits`); then the scopes.
-- Returns the head, the row's time, then for each alert that was set off: {which limit (from 1), percent, spent, held,
-- unproven}. What is handed over sets off none: it was told before.
local id, orphan, handed = ARGV[5], ARGV[7] == '1', ARGV[11] == '1'
local state, epoch = standing(handed)
if state == 'lost' or (state == 'recovering' and not handed) then
  return {state}
end
local known = call('HGET', P .. ':hold', id)
local hold = known and cjson.decode(known)
local named = tonumber(ARGV[6])
local before_at = tonumber(call('GET', P .. ':at:' .. id) or (named > 0 and named) or NOW)
local before_name = ledger(before_at)
local row = call('HGET', P .. ':' .. before_name, id)
-- A quote inside of a text is escaped in JSON, so this can only be the key.
local replaced = row and not orphan and string.find(row, '"orphan":true', 1, true)
local limits, next_one = read_limits(12)

local count = mark()
if hold then
  book(tonumber(hold[2]), {unpack(hold, 4)}, 0, -hold[1], 0)
  call('HDEL', P .. ':hold', id)
  call('ZREM', P .. ':holds', id)
end
if row and not replaced then
  return {state, epoch, count, before_at}
end
local at = named
if at == 0 then
  at = tonumber(hold and hold[2] or before_at)
end
local name = ledger(at)
if replaced then
  local before, scopes = cjson.decode(row), {'all'}  -- decoding is exact below 2^53; encoding numbers would not be
  for _, dimension in ipairs({'provider', 'model', 'key', 'user', 'agent'}) do
    scopes[#scopes + 1] = dimension .. '=' .. (before[dimension] or '')
  end
  if (before.team or '') ~= '' then
    scopes[#scopes + 1] = 'team=' .. before.team
  end
  book(before_at, scopes, -(tonumber(before.cost) or 0), 0, -(before.unproven or 0))
  call('HDEL', P .. ':' .. before_name, id)
end
book(at, rest(next_one), tonumber(ARGV[8]), 0, tonumber(ARGV[9]))
call('HSET', P .. ':' .. name, id, dated(ARGV[10], at))
if call('HLEN', P .. ':' .. name) == 1 then
  born(name, at)
end
-- Who names the time of a row names it each time alike, but for those who got no answer to their hold.
call('SET', P .. ':at:' .. id, whole(at), 'EX', (orphan or named == 0) and KEEP or 3 * DAY / 1000)

local reply, here = {state, epoch, count, at}, labels(at)
for i, limit in ipairs(limits) do
  local label = here[limit.window]
  local spent, held, unproven = counter(label, limit.scope)
  for percent, amount in string.gmatch(limit.marks, '(%d+):(%d+)') do
    if spent + unproven >= tonumber(amount) and tell(limit, label, percent, at) and not handed then
      reply[#reply + 1] = {i, tonumber(percent), spent, held, unproven}
    end
  end
end
return reply
