-- Drops what is left of finished jobs whose time to live is over (their records expire by themselves).
-- ARGV[2]  JSON: {limit}
-- Returns  how many were dropped
local a = cjson.decode(ARGV[2])
local gone = redis.call('ZRANGEBYSCORE', K.ended, '-inf', NOW, 'LIMIT', 0, a.limit)
for _, id in ipairs(gone) do
  redis.call('ZREM', K.ended, id)
  redis.call('ZREM', K.unsettled, id)
  redis.call('DEL', K.job .. id)
  for _, state in ipairs(C.final) do redis.call('ZREM', K.state .. state, id) end
end
return #gone
