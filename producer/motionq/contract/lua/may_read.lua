-- Statuses that may be read now, and are counted as read: asked right before the reading, since a look that was given out may
-- have waited for a thread.
-- ARGV[2]  JSON: {n, reads, window}   n = wanted; reads = reads that any `window` ms may hold, for the whole account
-- Returns  how many of them may be read
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local left = room_for_reads(K.looked, a.reads, a.window)
local n = math.min(a.n, left)
count_reads(K.looked, n, left)
return n
