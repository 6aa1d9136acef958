-- A worker says that it lives, and asks whether it is its turn to tick.
-- ARGV[2]  JSON: {worker, turn, silent, again?, soon?}   turn = ms between the ticks of all workers together; silent = ms
--          after which a worker counts as gone; again = its last tick found work: its own turn need not be over; soon =
--          something has happened: a turn that began so many ms ago need not be over
-- Returns  {1 if this worker ticks now else 0, live workers, ms until the next alarm (-1: none is set)}
local a = cjson.decode(ARGV[2])
redis.call('ZREMRANGEBYSCORE', K.workers, '-inf', NOW - a.silent)  -- first: a full server must not stop the clocks
redis.call('ZADD', K.workers, NOW, a.worker)
local mine = redis.call('SET', K.tick, a.worker, 'NX', 'PX', a.turn)
local mine_still = a.again and redis.call('GET', K.tick) == a.worker
if not mine and (mine_still or a.soon and redis.call('PTTL', K.tick) <= a.turn - a.soon) then
  mine = redis.call('SET', K.tick, a.worker, 'PX', a.turn)
end
local first = redis.call('EXISTS', K.tenants) == 1 and NOW or nil
for _, due in pairs(K.due) do
  local next = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if next[2] then first = math.min(first or math.huge, tonumber(next[2])) end
end
return {mine and 1 or 0, redis.call('ZCARD', K.workers), first and math.max(0, first - NOW) or -1}
