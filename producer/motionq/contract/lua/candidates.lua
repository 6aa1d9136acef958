-- Claims named tasks that are to be looked at: each comes again after the lease, unless a move has settled it.
-- ARGV[2]  JSON: {room, lease}
-- Returns  list of job IDs
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local ids = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.candidates, '-inf', NOW, 'LIMIT', 0, a.room)) do
  local id, nonce = member:match('^(.*):(.*)$')
  local book = redis.call('HGET', K.job .. id, 'purchases')
  if book and book:find(nonce, 1, true) then
    redis.call('ZADD', K.candidates, NOW + a.lease, member)
    ids[#ids + 1] = id
  else
    redis.call('ZREM', K.candidates, member)  -- its record is gone: nobody else would ever settle it
  end
end
return ids
