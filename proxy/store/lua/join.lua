-- A replica comes to hand over what it knows. It begins a new epoch if the store has forgotten, else it joins the
-- recovery that is under way; an epoch that was opened without it is closed again until it is done.
-- ARGV[5] what tells a new epoch from another of the same millisecond; [6] milliseconds that it stays closed at least;
-- [7] for how long it waits for a replica that is silent; [8] for how long at all; [9..] the replicas that this one
-- knows.
-- Returns the head.
local found = call('HMGET', P .. ':epoch', 'id', 'state', 'n:' .. ME)
local id, state = found[1], found[2]
local epoch = P .. ':epoch'

local function await(replica)
  if call('SISMEMBER', P .. ':done', replica) == 0 then
    call('ZADD', P .. ':awaited', 'NX', NOW, replica)
  end
end

-- An epoch from before the one that this replica knew came back from a file; who handed over then has to do so again.
local function age(epoch_id)
  return tonumber(string.match(epoch_id, '^%d+') or 0)
end

if not id or age(id) < age(EPOCH) or (EPOCH == id and tonumber(found[3] or 0) < KNOWN) then
  id, state = whole(NOW) .. '-' .. ARGV[5], 'recovering'
  call('DEL', epoch, P .. ':awaited', P .. ':done')
  call('HSET', epoch, 'id', id, 'began', whole(NOW), 'until', whole(NOW + ARGV[6]), 'latest', whole(NOW + ARGV[8]))
elseif state == 'open' and EPOCH ~= '' and (EPOCH ~= id or call('SISMEMBER', P .. ':done', ME) == 0) then
  state = 'recovering'
  call('HSET', epoch, 'until', whole(NOW), 'latest', whole(NOW + ARGV[8]))
end
if state == 'recovering' then
  call('HSET', epoch, 'state', state, 'patience', ARGV[7], 'missing', '')
  call('SREM', P .. ':done', ME)
  for i = 9, #ARGV do
    await(ARGV[i])
  end
  await(ME)
end
heard()
return {state, id, mark()}
