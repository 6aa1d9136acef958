-- Claims named tasks that are to be looked at: each comes again after the lease, unless a move has settled it.
-- ARGV[2]  JSON: {room, lease, reads, window}   as in checks.lua: they are read before all others, at the same rate
-- Returns  list of job IDs
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local left = room_for_reads(K.reads, a.reads, a.window)
local ids, room = {}, math.min(a.room, left)
if room == 0 then return ids end
for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.candidates, '-inf', NOW, 'LIMIT', 0, room)) do
  local id, nonce = member:match('^(.*):(.*)$')
  local book = redis.call('HGET', K.job .. id, 'purchases')
  if book and book:find(nonce, 1, true) then
    redis.call('ZADD', K.candidates, NOW + a.lease, member)
    ids[#ids + 1] = id
  else
    redis.call('ZREM', K.candidates, member)  -- its record is gone: nobody else would ever settle it
  end
end
count_reads(K.reads, #ids, left)
return ids
