-- Holds jobs against the sets that they must be in, and mends what does not agree. Money, purchases and slots are never
-- touched. One call is one moment: nothing can move between the look and the repair, whatever workers do.
-- ARGV[2]  JSON: {ids?, line?, tenants?, fix?, lease}   ids = jobs; line = the tenant in whose line they were found;
--          tenants = to be held against the lines; lease = ms until a job whose step may be under way is woken
-- Returns  list of {job ID or tenant, kind, place}: asleep (unfinished, in no line or due set) | unlisted (in no index)
--          | misplaced (in a set of other jobs) | stray (in a set, without a record) | expiring (unfinished, and its
--          record has an end) | unserved (a line that the gate does not know) | slotless (under way without a slot:
--          never mended) | unreadable (of another version: never mended)
local a = cjson.decode(ARGV[2])
if a.fix then redis.call('ZREM', K.ended, '') end  -- a full server refuses scripts that begin by adding
local FINAL, PLACES, found = {}, {ended = K.ended, unsettled = K.unsettled}, {}
for step, key in pairs(K.due) do PLACES['due:' .. step] = key end
for state in pairs(C.homes) do PLACES['state:' .. state] = K.state .. state end
for _, state in ipairs(C.final) do
  FINAL[state] = true
  PLACES['state:' .. state] = K.state .. state
end
if a.line then PLACES['line:' .. a.line] = K.line .. a.line end

local function tell(id, kind, place) found[#found + 1] = {id, kind, place} end

local function look(id)
  local fields = {
    'state', 'tenant', 'created_at', 'since', 'priority', 'durable_at', 'sent_until', 'nonce', 'purchases', 'events'
  }
  local job = {changes = {}}
  for i, value in ipairs(redis.call('HMGET', K.job .. id, unpack(fields))) do job[fields[i]] = value or nil end
  job.id = id
  return job
end

-- When the job is to be woken: a step that may be under way is left its time.
local function alarm(job)
  if job.state == 'armed' then return math.max(NOW, tonumber(job.durable_at) or NOW) end
  if job.state == 'submitting' then return math.max(NOW, tonumber(job.sent_until) or NOW) end
  if job.state == 'uploading' or job.state == 'delivering' then return NOW + a.lease end
  return NOW
end

local function join_line(job)
  redis.call('ZADD', K.line .. job.tenant, (tonumber(job.created_at) or NOW) - lift(job.priority), job.id)
  redis.call('ZADD', K.tenants, 'NX', redis.call('GET', K.turn) or 0, job.tenant)
end

local function join_ended(job)
  local lives = redis.call('PTTL', K.job .. job.id)
  if lives > 0 then redis.call('ZADD', K.ended, NOW + lives, job.id) else expire(load(job.id)) end
end

local function put(job, place, key)
  if place == 'ended' then join_ended(job)
  elseif place == 'unsettled' then keep_in_sight(job)
  elseif place:sub(1, 5) == 'line:' then join_line(job)
  elseif place:sub(1, 4) == 'due:' then redis.call('ZADD', key, alarm(job), job.id)
  else redis.call('ZADD', key, tonumber(job.created_at) or NOW, job.id) end
end

local function drop(id, place, key)
  redis.call('ZREM', key, id)
  local tenant = place:match('^line:(.*)$')
  if tenant and redis.call('EXISTS', key) == 0 then redis.call('ZREM', K.tenants, tenant) end
end

-- The set in which it waits or ended, its index, and that of the unsettled ones.
local function belongs(job)
  local home = C.homes[job.state]
  local waits = home == 'line' and 'line:' .. job.tenant or home and 'due:' .. home or 'ended'
  local mine = {[waits] = home and 'asleep' or 'unlisted', ['state:' .. job.state] = 'unlisted'}
  if needs_person(job) then mine.unsettled = 'unlisted' end
  return mine
end

local function compare(job, place, key, mine)
  local here = redis.call('ZSCORE', key, job.id)
  if mine and not here then
    tell(job.id, mine, place)
    if a.fix then put(job, place, key) end
  elseif here and not mine then
    tell(job.id, job.state and 'misplaced' or 'stray', place)
    if a.fix then drop(job.id, place, key) end
  end
end

local function look_at_end(job)
  if redis.call('PTTL', K.job .. job.id) < 0 then return end
  tell(job.id, 'expiring', 'job')
  if a.fix then
    for _, name in ipairs(lifelong(load(job.id))) do redis.call('PERSIST', name) end
  end
end

-- Reads the purchases as well.
local function readable(job)
  if not job.tenant or not C.homes[job.state] and not FINAL[job.state] then return false end
  local whole, book = true, {}
  if job.purchases then whole, book = pcall(cjson.decode, job.purchases) end
  job.book = book
  return whole
end

local function examine(id)
  local job = look(id)
  if job.state and not readable(job) then return tell(id, 'unreadable', 'job') end
  local unfinished = job.state and C.homes[job.state]
  local over = not job.state and redis.call('ZSCORE', K.ended, id)
  if over and tonumber(over) <= NOW + 1000 then return end  -- its time is over: the clock forgets it
  local before = #found
  local mine = job.state and belongs(job) or {}
  for place, key in pairs(PLACES) do compare(job, place, key, mine[place]) end
  local line = job.tenant and 'line:' .. job.tenant
  if line and not PLACES[line] then compare(job, line, K.line .. job.tenant, mine[line]) end
  if unfinished then look_at_end(job) end
  if a.fix and unfinished and #found > before then
    record_event(job, job.state, {step = 'doctor', note = 'its sets did not agree with its record: mended'})
    redis.call('HSET', K.job .. id, 'events', job.events)
  end
  if job.state == 'armed' or job.state == 'submitting' then
    if not redis.call('ZSCORE', K.slots, id .. ':' .. (job.nonce or '')) then tell(id, 'slotless', 'slots') end
  end
end

local function look_at_tenant(tenant)
  local waits = redis.call('EXISTS', K.line .. tenant) == 1
  local known = redis.call('ZSCORE', K.tenants, tenant)
  if waits and not known then
    tell(tenant, 'unserved', 'tenants')
    if a.fix then redis.call('ZADD', K.tenants, redis.call('GET', K.turn) or 0, tenant) end
  elseif known and not waits then
    tell(tenant, 'stray', 'tenants')
    if a.fix then redis.call('ZREM', K.tenants, tenant) end
  end
end

for _, id in ipairs(a.ids or {}) do examine(id) end
for _, tenant in ipairs(a.tenants or {}) do look_at_tenant(tenant) end
return found
