-- What a client key has taken of its quota, as `proxy.quota` reckons it; it stands before enter.lua and leave.lua.
-- KEYS[1] hash: requests_full, requests_rest, tokens_full, tokens_rest (`quota.Bucket`); [2] zset: who is inside, by the
-- time until which its place is kept, in milliseconds.
-- ARGV[1] id of the request; [2] requests and [3] tokens a minute, 0 for no limit.
--
-- Numbers of Lua are doubles, exact below 2^53. A product beyond that is cut to MOST, or is below zero: it need not be.
local PARTS, MOST = 60000, 9000000000000000
local ID, REQUESTS, TOKENS = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local call = redis.call
local clock = call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function whole(number)
  return string.format('%.0f', number)
end

-- How many parts are missing, where `rate` come back each millisecond.
local function missing(name, rate)
  if rate == 0 then
    return 0
  end
  local found = call('HMGET', KEYS[1], name .. '_full', name .. '_rest')
  local full, rest = tonumber(found[1] or 0), tonumber(found[2] or 0)
  return math.min(math.max(0, (full - NOW) * rate + math.min(rest, rate - 1)), MOST)
end

-- Write down what is missing; nothing, or less, is nothing.
local function lacks(name, rate, parts)
  local full, rest = 0, 0
  if rate > 0 and parts > 0 then
    parts = math.min(parts, MOST)
    rest = math.fmod(parts, rate)
    full = NOW + (parts - rest) / rate
  end
  call('HSET', KEYS[1], name .. '_full', whole(full), name .. '_rest', whole(rest))
end

-- Both keys go when they say nothing any more: the time is not over before that, and may be later.
local function lasts()
  local full = call('HMGET', KEYS[1], 'requests_full', 'tokens_full')
  call('PEXPIREAT', KEYS[1], whole(math.max(tonumber(full[1] or 0), tonumber(full[2] or 0)) + 1))
  local last = call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if last[2] then
    call('PEXPIREAT', KEYS[2], last[2])
  end
end
