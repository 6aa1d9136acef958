-- Makes jobs, each if absent: the caller's IDs make a repeated call harmless, idempotency keys a repeated request.
-- ARGV[2]  JSON: {jobs, pace, event, go_on?}   jobs = list of {id, fields, idempotency?, digest?}; idempotency = the key's
--          whole name; pace = ms between two jobs of one tenant; go_on = others of the same request were made already
-- Returns  JSON {at, made}: the moment in ms, and for each job {'created' | 'exists' | 'conflict' | 'full', job ID}
local a = cjson.decode(ARGV[2])
local full = not a.go_on and memory_above(0.9)  -- the last tenth is kept for jobs under way
-- No job of a tenant comes due later than all that wait could have come due one after another.
local longest = NOW + redis.call('ZCARD', K.due.upload) * a.pace

local function owner(job)
  local id, digest = (redis.call('GET', job.idempotency) or ''):match('^(.+):(%x+)$')
  if id and redis.call('EXISTS', K.job .. id) == 1 then return id, digest end
end

local function write(new)
  local job = {id = new.id, tenant = new.fields.tenant, created_at = text(NOW), book = {}}
  local flat = {'state', 'queued', 'created_at', text(NOW), 'updated_at', text(NOW), 'since', text(NOW)}
  for field, value in pairs(new.fields) do
    flat[#flat + 1] = field
    flat[#flat + 1] = value
  end
  redis.call('HSET', K.job .. new.id, 'events', event_line('queued', a.event), unpack(flat))
  -- One tenant's backlog must not hold up another's uploads: a tenant's jobs come due one after another.
  local pace = K.pace .. job.tenant
  local due = math.max(NOW, math.min(longest, tonumber(redis.call('GET', pace) or 0)))
  longest = longest + a.pace
  redis.call('SET', pace, text(due + a.pace), 'PXAT', text(due + 60000))
  count(job, nil, 'queued')
  enter(job, 'queued', due - math.max(0, lift(new.fields.priority)))  -- high overtakes; low waits in its line, not idly
end

local function make(new)
  if redis.call('EXISTS', K.job .. new.id) == 1 then return {'exists', new.id} end
  if full then return {'full', new.id} end
  if new.idempotency then
    local id, digest = owner(new)
    if id then return {digest == new.digest and 'exists' or 'conflict', id} end
    redis.call('SET', new.idempotency, new.id .. ':' .. new.digest)
    new.fields.idempotency = new.idempotency
  end
  write(new)
  return {'created', new.id}
end

local made = {}
for i, new in ipairs(a.jobs) do made[i] = make(new) end
return cjson.encode({at = text(NOW), made = made})
