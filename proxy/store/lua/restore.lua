-- Add a hold that the store forgot, whatever the limits say; not one that is there, nor one that is settled.
-- ARGV[5] id; [6] its time; [7] amount; [8] seconds until it is an orphan; [9] row without its time; [10..] scopes.
-- Returns the head.
local state, epoch = standing(true)
if state == 'lost' then
  return {state}
end
local id, at, amount = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
local count = mark()
local settled_at = tonumber(call('GET', P .. ':at:' .. id) or at)
if call('HEXISTS', P .. ':hold', id) == 0 and call('HEXISTS', P .. ':' .. ledger(settled_at), id) == 0 then
  local scopes = rest(10)
  book(at, scopes, '|h', amount)
  call('HSET', P .. ':hold', id, cjson.encode({whole(amount), whole(at), dated(ARGV[9], at), unpack(scopes)}))
  call('ZADD', P .. ':holds', whole(NOW + ARGV[8] * 1000), id)
end
return {state, epoch, count}
