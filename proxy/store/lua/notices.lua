-- What has changed on the board.
-- KEYS as of pin.lua; ARGV[1] the highest serial number that was seen, 0 for none.
-- Returns the last serial number, milliseconds since 1970, then for each notice: key, serial number, text.
-- For a number from before this board began it returns the serial number 0 and no notice.
local call = redis.call
local clock = call('TIME')
local at = clock[1] * 1000 + math.floor(clock[2] / 1000)
local since = tonumber(ARGV[1])
if since > 0 and since < tonumber(call('GET', KEYS[3]) or 0) then
  return {0, at}
end
local reply = {tonumber(call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or 0), at}
local found = call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES')
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = tonumber(found[i + 1])
  reply[#reply + 1] = call('HGET', KEYS[1], found[i])
end
return reply
