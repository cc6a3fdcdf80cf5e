-- Keep what a caller said of a request, if the request has a row and that is of the caller's key.
-- ARGV[5] id of the request; [6] key; [7] what was said; [8] when.
-- Returns the head, then 1 if it was done, else 0.
local state, epoch = standing()
if state ~= 'open' then
  return {state}
end
local REQUEST, AT_ONCE, MOST_ATTEMPTS = ARGV[5], 16, 128

-- Some row of it, as it was written. Attempts are numbered from 1, and not each has a row; `u`: nothing was held for it.
local function row(first)
  local ids, keys = {REQUEST .. '/end'}, {}
  for n = first, first + AT_ONCE - 1 do
    ids[#ids + 1] = REQUEST .. '/' .. n
    ids[#ids + 1] = REQUEST .. '/' .. n .. 'u'
  end
  for i, id in ipairs(ids) do
    keys[i] = P .. ':at:' .. id
  end
  for i, at in ipairs(call('MGET', unpack(keys))) do
    local text = at and call('HGET', P .. ':' .. ledger(tonumber(at)), ids[i])
    if text then
      return cjson.decode(text)
    end
  end
end

local found
for first = 1, MOST_ATTEMPTS, AT_ONCE do
  found = found or row(first)
end
local count = mark()
if not found or found.request ~= REQUEST or (found.key or '') ~= ARGV[6] then
  return {state, epoch, count, 0}
end
-- It is to live as long as its row, whatever the clock says of whoever heard it.
call('HSET', P .. ':feedback', REQUEST, ARGV[7])
call('ZADD', P .. ':judged', whole(math.max(tonumber(ARGV[8]), found.at)), REQUEST)
for _, old in ipairs(call('ZRANGEBYSCORE', P .. ':judged', '-inf', whole(NOW - KEEP * 1000), 'LIMIT', 0, 10)) do
  call('HDEL', P .. ':feedback', old)
  call('ZREM', P .. ':judged', old)
end
return {state, epoch, count, 1}
