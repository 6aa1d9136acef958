-- Makes a job, if absent: the caller's ID makes a repeated call harmless, its idempotency key a repeated request.
-- ARGV[2]  JSON: {id, fields, idempotency?, digest, event}   idempotency = the key's whole name
-- Returns  {'created' | 'exists' | 'conflict', job ID}
local a = cjson.decode(ARGV[2])
if redis.call('EXISTS', K.job .. a.id) == 1 then return {'exists', a.id} end
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
enter(job, 'queued', NOW)
return {'created', a.id}
