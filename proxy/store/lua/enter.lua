-- Let a request in if the quota of its key has room for it, all of it or nothing (`quota.enter`).
-- ARGV[4] how many may be inside at once, 0 for no limit; [5] parts that its tokens are; [6] milliseconds for which its
-- place is kept; [7] milliseconds that are told where nobody knows when somebody will leave.
-- Returns {1, requests left, tokens left} (0 where there is no limit), or {0, which limit (1 requests, 2 tokens, 3 concurrency),
-- milliseconds until there is room}.
local CONCURRENT, TAKEN = tonumber(ARGV[4]), tonumber(ARGV[5])

-- Until so many parts are there, or until the bucket is full if it does not hold as many.
local function wait(rate, parts, taken)
  if rate == 0 then
    return 0
  end
  local over = math.max(0, parts + math.min(taken, rate * PARTS) - rate * PARTS)
  local rest = math.fmod(over, rate)
  return (over - rest) / rate + (rest > 0 and 1 or 0)
end

local function left(rate, parts)
  local there = math.max(0, rate * PARTS - parts)
  return (there - math.fmod(there, PARTS)) / PARTS
end

call('ZREMRANGEBYSCORE', KEYS[2], '-inf', NOW)
local requests, tokens = missing('requests', REQUESTS), missing('tokens', TOKENS)
if not call('ZSCORE', KEYS[2], ID) then
  local full = CONCURRENT > 0 and call('ZCARD', KEYS[2]) >= CONCURRENT
  local waits = {wait(REQUESTS, requests, PARTS), wait(TOKENS, tokens, TAKEN), full and tonumber(ARGV[7]) or 0}
  local longest = 1
  for i = 2, 3 do
    if waits[i] > waits[longest] then
      longest = i
    end
  end
  if waits[longest] > 0 then
    return {0, longest, waits[longest]}
  end
  requests, tokens = requests + PARTS, tokens + TAKEN
  call('ZADD', KEYS[2], whole(NOW + ARGV[6]), ID)
end
lacks('requests', REQUESTS, requests)
lacks('tokens', TOKENS, tokens)
lasts()
return {1, left(REQUESTS, requests), left(TOKENS, tokens)}
