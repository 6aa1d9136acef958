-- What a worker learns of a pause, written only while that very pause is on record: a person may act meanwhile.
-- ARGV[2]  JSON: {since, reason, set?}   since, reason = of the pause, as they were read; set = fields of the gate; absent:
--          the gate opens
-- Returns  1 if it was written, 0 if another pause, or none, is on record now
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local now = redis.call('HMGET', K.gate, 'since', 'reason')
if now[1] ~= a.since or now[2] ~= a.reason then return 0 end
if not a.set then return redis.call('DEL', K.gate) end
for field, value in pairs(a.set) do redis.call('HSET', K.gate, field, text(value)) end
return 1
