-- The gate: chooses who may buy, and puts each one's purchase on record (ready -> armed).
-- ARGV[2]  JSON: {salt, in_flight, waiting, settle, upload_ttl, event, refresh_event, expire_event, expire_failure}
--          salt = 128 random bits of this call; in_flight = slots altogether; waiting = rate slots altogether;
--          settle = ms until an arming is durable; upload_ttl = ms an upload is bought with; budget? = credits a day;
--          memory = share of maxmemory above which nothing is bought; probe_lease = ms that a probe may take. A gate
--          whose pause is over lets one job through, and opens when the vendor answers it.
-- Returns  {how many were armed, why not more: 'full' | 'busy' | 'idle' | 'memory' | 'disk' | a pause's reason}
local a = cjson.decode(ARGV[2])
local today = math.floor(NOW / 86400000)
local function budget_is_spent()
  return a.budget and (tonumber(redis.call('HGET', K.spent, today)) or 0) >= a.budget
end

local paused, ends, probe_ends = unpack(redis.call('HMGET', K.gate, 'reason', 'until', 'probe_until'))
if paused and (tonumber(ends) == 0 or tonumber(ends) > NOW) then return {0, paused} end
if paused and tonumber(probe_ends or 0) > NOW then return {0, paused} end  -- half-open: one probe at a time
if budget_is_spent() then return {0, 'budget'} end
if memory_above(a.memory) then return {0, 'memory'} end

-- Armed is only who can send as soon as its arming is durable: who still waits when the server restarts counts as sent.
local function rate_room()
  local taken = 0
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', K.rate, '(' .. text(NOW + a.settle), '+inf')) do
    if not redis.call('ZSCORE', K.state .. 'armed', member:match('^(.*):')) then taken = taken + 1 end
  end
  return a.waiting - taken - redis.call('ZCARD', K.state .. 'armed')
end

if redis.call('EXISTS', K.tenants) == 0 then return {0, 'idle'} end
if disk_is_busy(redis.call('INFO', 'persistence')) then return {0, 'disk'} end
local free = a.in_flight - redis.call('ZCARD', K.slots)
local room = paused and 1 or rate_room()
local identity, armed = nil, 0

local function arm(job)
  local n = (tonumber(job.n_purchases) or 0) + 1
  local nonce = redis.sha1hex(a.salt .. ':' .. job.id .. ':' .. n)
  if purchase(job, nonce) then return end
  identity = identity or server_identity()
  local last = job.book[#job.book]
  local p = {nonce = nonce, armed_at = NOW, estimate = tonumber(job.estimate) or last and last.estimate}
  book(p, 'open')
  job.book[#job.book + 1] = p
  set(job, 'n_purchases', n)
  set(job, 'nonce', nonce)
  set(job, 'armed_under', identity)
  set(job, 'durable_at', NOW + a.settle)
  unset(job, 'task_id')
  unset(job, 'estimate')  -- the purchase has it now
  redis.call('ZADD', K.slots, NOW, job.id .. ':' .. nonce)
  if paused then
    redis.call('HSET', K.gate, 'probe', job.id .. ':' .. nonce, 'probe_until', text(NOW + a.settle + a.probe_lease))
  end
  move(job, 'armed', NOW + a.settle, a.event)
  armed = armed + 1
end

local function consider(job)
  if job.deadline and tonumber(job.deadline) < NOW then
    set(job, 'failure', a.expire_failure)
    return move(job, 'failed', nil, a.expire_event)
  end
  if NOW - (tonumber(job.uploaded_at) or 0) > a.upload_ttl then
    return move(job, 'queued', NOW, a.refresh_event)
  end
  arm(job)
end

local looked = 0
while armed < math.min(free, room) and looked < 200 do
  local tenant = redis.call('ZRANGE', K.tenants, 0, 0)[1]
  if not tenant then return {armed, 'idle'} end
  if armed > 0 and budget_is_spent() then return {armed, 'budget'} end
  looked = looked + 1
  redis.call('ZADD', K.tenants, redis.call('INCR', K.turn), tenant)
  local id = redis.call('ZRANGE', K.line .. tenant, 0, 0)[1]
  local readable, job = pcall(load, id or '')
  if not readable or job and (job.state ~= 'ready' or has(job, 'open')) then  -- never two open purchases
    local last = redis.call('ZRANGE', K.line .. tenant, -1, -1, 'WITHSCORES')
    redis.call('ZADD', K.line .. tenant, 'XX', last[2] + 1, id)  -- behind all others: it must not stop them
  elseif job then consider(job) else
    if id then redis.call('ZREM', K.line .. tenant, id) else redis.call('ZREM', K.tenants, tenant) end
  end
end
return {armed, armed >= free and 'full' or 'busy'}
