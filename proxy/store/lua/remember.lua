-- Keep states of vendors' reasoning; the oldest go when there are too many.
-- KEYS[1] index of all states by the time they were kept; KEYS[2..] one per state, all in the index's hash slot
-- ARGV[1] seconds to live; ARGV[2] how many states may be kept; ARGV[3..] the values, in the order of KEYS[2..]
-- Returns how many were put out.
local now = redis.call('TIME')
local at = now[1] * 1000000 + now[2]
for i = 2, #KEYS do
  redis.call('SET', KEYS[i], ARGV[i + 1], 'EX', ARGV[1])
  redis.call('ZADD', KEYS[1], at, KEYS[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at - ARGV[1] * 1000000)
redis.call('EXPIRE', KEYS[1], ARGV[1])
local over = redis.call('ZCARD', KEYS[1]) - ARGV[2]
if over <= 0 then
  return 0
end
local oldest = redis.call('ZRANGE', KEYS[1], 0, over - 1)
redis.call('ZREM', KEYS[1], unpack(oldest))
redis.call('DEL', unpack(oldest))
return over
