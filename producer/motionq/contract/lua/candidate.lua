-- Somebody says that a purchase has this task (a callback, a person): remembered, to be verified by a reading.
-- ARGV[2]  JSON: {id, nonce, task, orphans}   orphans = how many callbacks without a job are kept
-- Returns  'stored' | 'known' (this very task is on record, and has made the video or waits to be followed)
--          | 'orphan' (no such job or purchase)
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local job = load(a.id)
local p = job and purchase(job, a.nonce)
if not p then
  redis.call('LPUSH', K.orphans, cjson.encode({NOW, a.id, a.task}))
  redis.call('LTRIM', K.orphans, 0, a.orphans - 1)
  return 'orphan'
end
if p.task_id == a.task and (p.status == 'paid' or p.status == 'stray') then return 'known' end
if p.candidate ~= a.task then
  p.candidate = a.task
  keep_book(job)
  redis.call('HSET', K.job .. job.id, 'purchases', job.purchases)
end
redis.call('ZADD', K.candidates, NOW, a.id .. ':' .. a.nonce)
return 'stored'
