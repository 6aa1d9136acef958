-- Pauses submission for the whole account. Of two pauses the one that ends later stays: a short pause of a worker's
-- must not open a gate that a person closed.
-- ARGV[2]  JSON: {reason, message, lasts?}   lasts = ms; absent: until somebody resumes
-- Returns  1 if this pause is on record now, 0 if a longer one stays
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local ends = a.lasts and NOW + a.lasts or 0
local known = tonumber(redis.call('HGET', K.gate, 'until') or -1)
if known == 0 and ends > 0 or known > NOW and ends > 0 and ends < known then return 0 end
redis.call('HSET', K.gate, 'reason', a.reason, 'since', text(NOW), 'until', text(ends), 'message', a.message)
return 1
