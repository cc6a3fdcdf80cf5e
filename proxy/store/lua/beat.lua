-- A replica says that it lives.
-- ARGV[5] milliseconds after which a silent one is taken for dead.
-- Returns the head, then the replicas that live.
local state, epoch = standing()
if state == 'lost' then
  return {state}
end
local count = mark()
call('ZADD', P .. ':replicas', NOW, ME)
for _, gone in ipairs(call('ZRANGEBYSCORE', P .. ':replicas', '-inf', whole(NOW - DAY))) do
  call('ZREM', P .. ':replicas', gone)
  call('HDEL', P .. ':epoch', 'n:' .. gone)
end
return {state, epoch, count, unpack(call('ZRANGEBYSCORE', P .. ':replicas', whole(NOW - ARGV[5]), '+inf'))}
