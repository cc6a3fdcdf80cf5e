-- Give the place of a request back (`quota.leave`); an id that is not inside changes nothing.
-- ARGV[4] parts that it took beyond what was said, below zero if it took less.
-- Returns 1 if it was inside.
call('ZREMRANGEBYSCORE', KEYS[2], '-inf', NOW)
if call('ZREM', KEYS[2], ID) == 0 then
  return 0
end
lacks('tokens', TOKENS, missing('tokens', TOKENS) + tonumber(ARGV[4]))
lasts()
return 1
