-- Claims due looks: each alarm is moved to the end of its lease, and no more are claimed than may be read now.
-- ARGV[2]  JSON: {room, lease, reads, window}   reads = reads that any `window` ms may hold, for the whole account
-- Returns  JSON {ids, due, newer}: the claimed jobs, how many more are due, and records of a newer schema, which are not
--          claimed but wait a lease: job ID -> its version
local a = cjson.decode(ARGV[2])
local due = K.due.check
local left = room_for_reads(K.reads, a.reads, a.window)
local ids, alone = {}, {}
local room = math.min(a.room, left)
if room > 0 then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', NOW, 'LIMIT', 0, room)) do
    local state, version = unpack(redis.call('HMGET', K.job .. id, 'state', 'schema_version'))
    if not state then
      redis.call('ZREM', due, id)
    else
      redis.call('ZADD', due, NOW + a.lease, id)
      if newer(version) then alone[id] = version else ids[#ids + 1] = id end
    end
  end
end
count_reads(K.reads, #ids, left)
return cjson.encode({ids = ids, due = redis.call('ZCOUNT', due, '-inf', NOW), newer = alone})
