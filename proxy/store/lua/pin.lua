-- Put up a notice, if the one of its key is still the one that was seen. Whoever does also takes down a few old ones,
-- and puts those up anew that are to be kept.
-- KEYS[1] hash: key to text; [2] zset: keys by serial number; [3] the serial number with which this board began
-- ARGV[1] key; [2] serial number that was seen, 0 for none; [3] text; [4] channel to ring on, or ""; [5] microseconds
-- after which a notice that nobody changed is old; [6] how the keys begin of those that are kept
-- Returns {serial} if it was done, else {serial, text} of what stands there; {0, ""} for nothing.
--
-- A serial number is the clock in microseconds, or one above the last where the clock is behind: no number of a board
-- that was forgotten comes again on the next. Numbers of Lua are exact below 2^53, that is until the year 2255.
local call = redis.call

local function whole(number)
  return string.format('%.0f', number)
end

local stands = tonumber(call('ZSCORE', KEYS[2], ARGV[1]) or 0)
if stands ~= tonumber(ARGV[2]) then
  return {stands, call('HGET', KEYS[1], ARGV[1]) or ''}
end
local clock = call('TIME')
local now = clock[1] * 1000000 + clock[2]
local last = call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2] or 0
local serial = math.max(now, last + 1)
call('SET', KEYS[3], whole(serial), 'NX')
call('HSET', KEYS[1], ARGV[1], ARGV[3])
call('ZADD', KEYS[2], whole(serial), ARGV[1])
local anew = serial
for _, old in ipairs(call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now - ARGV[5]), 'LIMIT', 0, 10)) do
  if string.sub(old, 1, #ARGV[6]) == ARGV[6] then
    anew = anew + 1
    call('ZADD', KEYS[2], whole(anew), old)
  else
    call('HDEL', KEYS[1], old)
    call('ZREM', KEYS[2], old)
  end
end
if ARGV[4] ~= '' then
  redis.pcall('PUBLISH', ARGV[4], '')  -- whoever may not ring may pin; others find it when they look
end
return {serial}
