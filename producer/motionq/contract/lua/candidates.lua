-- Claims named tasks that are to be looked at: each comes again after the lease, unless a move has settled it.
-- ARGV[2]  JSON: {room, lease}
-- Returns  list of job IDs
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local ids = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.candidates, '-inf', NOW, 'LIMIT', 0, a.room)) do
  redis.call('ZADD', K.candidates, NOW + a.lease, member)
  ids[#ids + 1] = member:match('^(.*):')
end
return ids
