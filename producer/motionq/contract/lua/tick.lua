-- A worker says that it lives, and asks whether it is its turn to tick.
-- ARGV[2]  JSON: {worker, turn, silent, again?, soon?, gap?}   turn = ms between the ticks of all workers together;
--          silent = ms after which a worker counts as gone; again = its last tick found work: its own turn need not be
--          over; soon, gap = something has happened: a turn that began `soon` ms ago need not be over, and one that itself
--          came no earlier may be followed by one after `gap` ms: what one step hands to the next waits for nobody, and
--          a crowd of steps does not make the clock race
-- Returns  {turn, live workers, ms until the next alarm (-1: none)}   turn = 1 if this worker ticks now, 2 if it does so
--          early, 0 if not
local EARLY = ' early'  -- behind the name of a worker whose turn came early
local a = cjson.decode(ARGV[2])
redis.call('ZREMRANGEBYSCORE', K.workers, '-inf', NOW - a.silent)  -- first: a full server must not stop the clocks
redis.call('ZADD', K.workers, NOW, a.worker)
local holder = redis.call('GET', K.tick) or ''
local was_early = holder:sub(-#EARLY) == EARLY
if was_early then holder = holder:sub(1, -#EARLY - 1) end
local mine, early = holder == '' or a.again and holder == a.worker, false
if not mine and a.soon then
  local age = a.turn - redis.call('PTTL', K.tick)
  mine = age >= (was_early and a.soon or a.gap)
  early = mine and age < a.soon
end
if mine then redis.call('SET', K.tick, early and a.worker .. EARLY or a.worker, 'PX', a.turn) end
local first = redis.call('EXISTS', K.tenants) == 1 and NOW or nil
for _, due in pairs(K.due) do
  local next = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
  if next[2] then first = math.min(first or math.huge, tonumber(next[2])) end
end
return {mine and (early and 2 or 1) or 0, redis.call('ZCARD', K.workers), first and math.max(0, first - NOW) or -1}
