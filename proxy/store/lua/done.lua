-- A replica has handed over all that it knows; asked again until the epoch is open.
-- Returns the head, then the replicas that were given up, one a line.
local state, epoch = standing(true)
if state == 'lost' then
  return {state}
end
call('SADD', P .. ':done', ME)
call('ZREM', P .. ':awaited', ME)
state = standing()
return {state, epoch, mark(), call('HGET', P .. ':epoch', 'missing') or ''}
