-- Takes the right to send one purchase's createTask (armed -> submitting); exactly one execution gets it.
-- ARGV[2]  JSON: {id, nonce, token, rate, lease, upload_ttl, retry, busy, event}
--          busy = ms until a disk at work is looked at again; token = random, of this execution; rate = rate slots altogether; lease = ms until an unanswered POST is
--          unknown; retry = ms until an unhealthy append-only file is looked at again
-- Returns  {verdict, ms}: 'mine' go | 'wait', 'disk' (it is at work) look again in ms | 'refused' disarm it (paused, stale, expired)
--          | 'other_server' the record may be older than what was done | 'fenced' not yours
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local job = load(a.id)
if not job then return {'fenced', 0} end
if job.state == 'submitting' and job.nonce == a.nonce and job.sender == a.token then return {'mine', 0} end
local p = purchase(job, a.nonce)
local function wait(ms)
  redis.call('ZADD', K.due[C.homes[job.state]], 'XX', NOW + ms, a.id)
  return {'wait', ms}
end
if job.state ~= 'armed' or job.nonce ~= a.nonce or not p or p.status ~= 'open' then return {'fenced', 0} end
if job.armed_under ~= server_identity() then return {'other_server', 0} end
if has(job, 'stray') then return {'refused', 0} end  -- back in its line it is followed
if tonumber(job.durable_at) > NOW then return wait(tonumber(job.durable_at) - NOW) end

local disk = redis.call('INFO', 'persistence')
local append_only = disk:match('aof_enabled:1')
if append_only and not disk:match('aof_last_write_status:ok') then return wait(a.retry) end
if disk_is_busy(disk) then
  wait(a.busy)
  return {'disk', a.busy}
end

local paused, ends, probe = unpack(redis.call('HMGET', K.gate, 'reason', 'until', 'probe'))
local over = paused and tonumber(ends) > 0 and tonumber(ends) <= NOW
if paused and not (over and probe == a.id .. ':' .. a.nonce) then return {'refused', 0} end
if NOW - (tonumber(job.uploaded_at) or 0) > a.upload_ttl then return {'refused', 0} end
if job.deadline and tonumber(job.deadline) < NOW then return {'refused', 0} end

local member = a.id .. ':' .. a.nonce
redis.call('ZREMRANGEBYSCORE', K.rate, '-inf', NOW)
if not redis.call('ZSCORE', K.rate, member) and redis.call('ZCARD', K.rate) >= a.rate then
  local first = redis.call('ZRANGE', K.rate, 0, 0, 'WITHSCORES')
  return wait(math.max(1, tonumber(first[2]) - NOW))
end
redis.call('ZADD', K.rate, NOW + a.lease, member)
p.sent_at, p.armed_at = NOW, nil  -- its event says when
set(job, 'sender', a.token)
set(job, 'sent_until', NOW + a.lease)
set(job, 'attempts', (tonumber(job.attempts) or 0) + 1)
move(job, 'submitting', NOW + a.lease, a.event)
return {'mine', 0}
