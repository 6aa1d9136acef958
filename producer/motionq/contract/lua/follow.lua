-- An earlier task of the job is no failure after all: the new purchase is not sent, and the old one is open again.
-- ARGV[2]  JSON: {id, nonce, old, event}   nonce = the new purchase, still armed; old = the purchase to follow
-- Returns  {'ok' | 'fenced' | 'missing', the job's state now}
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local job = load(a.id)
if not job then return {'missing', ''} end
if job.state == 'running' and job.nonce == a.old then return {'ok', job.state} end
local new, old = purchase(job, a.nonce), purchase(job, a.old)
local armed = job.state == 'armed' and job.nonce == a.nonce and new and new.status == 'open'
if not armed or not old or old.status ~= 'refunded' or job.armed_under ~= server_identity() then
  return {'fenced', job.state}
end
book(new, 'not_sent')
book(old, 'open')
redis.call('ZREM', K.slots, a.id .. ':' .. a.nonce)
redis.call('ZREM', K.rate, a.id .. ':' .. a.nonce)
set(job, 'nonce', a.old)
set(job, 'task_id', old.task_id)
set(job, 'running_since', NOW)
move(job, 'running', NOW, a.event)
return {'ok', 'running'}
