-- Hold money in all scopes of a row and both windows, within all limits or not at all (`budget.grant`).
-- ARGV[5] id; [6] least; [7] most; [8] share, in millionths; [9] seconds until it is an orphan; [10] row without its
-- time; [11] "1" if a refusal is the last word; [12..] limits (`read_limits`); then the scopes.
-- Returns the head, then "granted", amount, time; or "settled"; or "refused", which limit (from 1), time, spent, held,
-- unproven, and 1 if its alert was set off.
local state, epoch = standing()
if state ~= 'open' then
  return {state}
end
local id, least, most, share = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local known = call('HGET', P .. ':hold', id)
if known then
  local hold = cjson.decode(known)
  return {state, epoch, mark(), 'granted', tonumber(hold[1]), tonumber(hold[2])}
end
if call('EXISTS', P .. ':at:' .. id) == 1 then
  return {state, epoch, mark(), 'settled'}
end

local limits, next_one = read_limits(12)
local here = labels(NOW)
local room, tightest
for i, limit in ipairs(limits) do
  local spent, held, unproven = counter(here[limit.window], limit.scope)
  local left = limit.nano - spent - unproven - held
  if not room or left < room then
    room, tightest = left, {i, spent, held, unproven}
  end
end

if room and room < least then
  local i, spent, held, unproven = unpack(tightest)
  local limit = limits[i]
  local used, near = spent + unproven, tonumber(string.match(limit.marks, '^%d+:(%d+)'))
  local last = string.match(limit.marks, '(%d+):%d+$')
  local up = ARGV[11] == '1' and used >= near and limit.nano - used < least
  local said = up and tell(limit, here[limit.window], last, NOW)
  return {state, epoch, mark(), 'refused', i, NOW, spent, held, unproven, said and 1 or 0}
end

local amount = most
if room then
  local millions = floor(room / 1000000)  -- room * share would not be exact
  local part = millions * share + floor((room - millions * 1000000) * share / 1000000)
  amount = math.max(least, math.min(most, part))
end
local scopes = rest(next_one)
local count = mark()
book(NOW, scopes, 0, amount, 0)
call('HSET', P .. ':hold', id, cjson.encode({whole(amount), whole(NOW), dated(ARGV[10], NOW), unpack(scopes)}))
call('ZADD', P .. ':holds', whole(NOW + ARGV[9] * 1000), id)
return {state, epoch, count, 'granted', amount, NOW}
