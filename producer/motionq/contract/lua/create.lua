-- Makes a job, if absent: the caller's ID makes a repeated call harmless, its idempotency key a repeated request.
-- ARGV[2]  JSON: {id, fields, idempotency?, digest, pace, event}   idempotency = the key's whole name; pace = ms between
--          two jobs of one tenant
-- Returns  {'created' | 'exists' | 'conflict', job ID}
local a = cjson.decode(ARGV[2])
if redis.call('EXISTS', K.job .. a.id) == 1 then return {'exists', a.id} end
if memory_above(0.9) then return redis.error_reply('OOM motionq keeps the last tenth of the memory for jobs under way') end
if a.idempotency then
  local owner = redis.call('GET', a.idempotency)
  local id, digest = (owner or ''):match('^(.+):(%x+)$')
  if id and redis.call('EXISTS', K.job .. id) == 1 then
    return {digest == a.digest and 'exists' or 'conflict', id}
  end
  redis.call('SET', a.idempotency, a.id .. ':' .. a.digest)
  a.fields.idempotency = a.idempotency
end
local job = {id = a.id, tenant = a.fields.tenant, created_at = text(NOW), book = {}}
local flat = {'state', 'queued', 'created_at', text(NOW), 'updated_at', text(NOW), 'since', text(NOW)}
for field, value in pairs(a.fields) do
  flat[#flat + 1] = field
  flat[#flat + 1] = value
end
redis.call('HSET', K.job .. a.id, unpack(flat))
record_event(job, 'queued', a.event)
-- One tenant's backlog must not hold up another's uploads: a tenant's jobs come due one after another.
local pace = K.pace .. job.tenant
local due = math.max(NOW, tonumber(redis.call('GET', pace) or 0))
redis.call('SET', pace, text(due + a.pace), 'PXAT', text(due + 60000))
enter(job, 'queued', due - math.max(0, lift(a.fields.priority)))  -- high overtakes; low waits in its line, not idly
return {'created', a.id}
