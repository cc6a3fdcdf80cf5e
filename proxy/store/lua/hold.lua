-- Hold money in all scopes of a row and both windows, within all limits or not at all (`budget.grant`).
-- ARGV[5] in JSON: id, least, most, share in millionths, seconds until it is an orphan, whether a refusal is the last
-- word, limits (`tell`), scopes; [6] row without its time.
-- Returns the head, then "granted", amount, time; or "settled"; or "refused", which limit (from 1), time, spent, held,
-- unproven, and 1 if its alert was set off.
local state, epoch = standing()
if state ~= 'open' then
  return {state}
end
local id, least, most, share, seconds, final, limits, scopes = unpack(cjson.decode(ARGV[5]))
local known = call('HGET', P .. ':hold', id)
if known then
  local hold = cjson.decode(known)
  return {state, epoch, mark(), 'granted', tonumber(hold[1]), tonumber(hold[2])}
end
if call('EXISTS', P .. ':at:' .. id) == 1 then
  return {state, epoch, mark(), 'settled'}
end

local here = labels(NOW)
local room, tightest
for i, limit in ipairs(limits) do
  local spent, held, unproven = counter(here[limit[2]], limit[1])
  local left = limit[3] - spent - unproven - held
  if not room or left < room then
    room, tightest = left, {i, spent, held, unproven}
  end
end

if room and room < least then
  local i, spent, held, unproven = unpack(tightest)
  local limit = limits[i]
  local used, near, last = spent + unproven, limit[4][2], limit[#limit][1]
  local up = final and used >= near and limit[3] - used < least
  local said = up and tell(limit, here[limit[2]], last, NOW)
  return {state, epoch, mark(), 'refused', i, NOW, spent, held, unproven, said and 1 or 0}
end

local amount = most
if room then
  local millions = floor(room / 1000000)  -- room * share would not be exact
  local part = millions * share + floor((room - millions * 1000000) * share / 1000000)
  amount = math.max(least, math.min(most, part))
end
local count = mark()
book(NOW, scopes, '|h', amount)
call('HSET', P .. ':hold', id, cjson.encode({whole(amount), whole(NOW), dated(ARGV[6], NOW), unpack(scopes)}))
call('ZADD', P .. ':holds', NOW + seconds * 1000, id)
return {state, epoch, count, 'granted', amount, NOW}
