-- The holds whose time is over.
-- ARGV[5] how many at most.
-- Returns the head, then for each: amount, row.
local state, epoch = standing()
if state ~= 'open' then
  return {state}
end
local reply = {state, epoch, mark()}
for _, id in ipairs(call('ZRANGEBYSCORE', P .. ':holds', '-inf', NOW, 'LIMIT', 0, ARGV[5])) do
  local hold = cjson.decode(call('HGET', P .. ':hold', id))
  reply[#reply + 1] = tonumber(hold[1])
  reply[#reply + 1] = hold[3]
end
return reply
