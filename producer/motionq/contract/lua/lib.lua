-- Shared by every script: the record of a job, its set, its purchases, its events.
-- ARGV[1]  JSON: {schema, keys, homes, final, rests, costs, ttl, ttl_open, rate_window, events, ends}  (contract/keys.py,
--          contract/states.py, settings)
-- Times are milliseconds of the server's clock. The scripts own job:*, due:*, line:*, state:*, tenants,
-- turn, slots, rate, ended, unsettled, by_tenant, ends:*, task:*, spent, lied; nothing else writes them. Key names are made from prefixes: no Redis Cluster.
local C = cjson.decode(ARGV[1])
local K = C.keys

local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function text(value)
  if type(value) == 'number' then return string.format('%.0f', value) end
  if type(value) == 'table' then return cjson.encode(value) end
  return tostring(value)
end

-- run_id alone would not do: a fail-back brings the old one again.
local function server_identity()
  local server = redis.call('INFO', 'server')
  local replication = redis.call('INFO', 'replication')
  return (server:match('run_id:(%x+)') or '') .. '/' .. (replication:match('master_replid:(%x+)') or '')
end

-- Memory that is kept free for what is under way: a server that is quite full takes no message of Celery's either.
local function memory_above(share)
  local memory = redis.call('INFO', 'memory')
  local limit = tonumber(memory:match('maxmemory:(%d+)')) or 0
  return limit > 0 and tonumber(memory:match('used_memory:(%d+)')) > share * limit
end

-- Whether the append-only file is being synced just now. What is written when it is not is on the disk as soon as it is not
-- again, a settling time later (contract/durability.py says why).
-- `disk`: INFO persistence.
local function disk_is_busy(disk)
  return disk:match('aof_pending_bio_fsync:[1-9]') ~= nil
end

-- How many statuses there is room for: of `most` in any `window` ms, for the whole account. `key` counts those given out
-- (K.reads) or read (K.looked). What lies in the future was counted before the clock was set back.
local function room_for_reads(key, most, window)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', NOW - window)
  redis.call('ZREMRANGEBYSCORE', key, '(' .. text(NOW), '+inf')
  for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do most = most - tonumber(member:match('^%d+')) end
  return math.max(0, most)
end

local function count_reads(key, n, left)
  if n > 0 then redis.call('ZADD', key, NOW, string.format('%d at %.0f %d', n, NOW, left)) end
end

-- A record of a newer schema is left alone: what this release would write into it may be wrong.
local function newer(version)
  return (tonumber(version or 0) or 0) > C.schema
end

local function load(id)
  local flat = redis.call('HGETALL', K.job .. id)
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  if newer(job.schema_version) then error('the record of job ' .. id .. ' was written by a newer motionq') end
  job.id = id
  job.book = job.purchases and cjson.decode(job.purchases) or {}
  job.changes = {}
  return job
end

local function set(job, field, value)
  job[field] = text(value)
  job.changes[field] = job[field]
end

local function unset(job, field)
  job[field] = nil
  job.changes[field] = false
end

local function save(job)
  local puts, drops = {}, {}
  set(job, 'updated_at', NOW)
  for field, value in pairs(job.changes) do
    if value == false then drops[#drops + 1] = field else puts[#puts + 1] = field; puts[#puts + 1] = value end
  end
  if #drops > 0 then redis.call('HDEL', K.job .. job.id, unpack(drops)) end
  redis.call('HSET', K.job .. job.id, unpack(puts))
end

local function purchase(job, nonce)
  for _, p in ipairs(job.book) do
    if p.nonce == nonce then return p end
  end
end

-- Whether one of its purchases has one of these statuses.
local function has(job, ...)
  for _, p in ipairs(job.book) do
    for _, status in ipairs({...}) do
      if p.status == status then return true end
    end
  end
  return false
end

-- The one place where a purchase's status changes: what it is estimated to cost counts today, or no more.
local function book(p, status)
  local before, after = p.status and C.costs[p.status], C.costs[status]
  if p.estimate and before ~= after then
    redis.call('HINCRBYFLOAT', K.spent, math.floor(NOW / 86400000), after and p.estimate or -p.estimate)
  end
  if p.status and p.status ~= status then p.closed_at = status ~= 'open' and NOW or nil end
  p.status = status
end

-- The task of a purchase that was closed before it was named; none while another purchase is open, or has made the video.
local function stray(job)
  local found
  for _, p in ipairs(job.book) do
    if p.status == 'open' or p.status == 'paid' then return nil end
    if p.status == 'stray' then found = p end
  end
  return found
end

-- Purchases that were never sent say nothing about money, refused ones little: only the last ones stay, so that a vendor
-- out of reach for days does not grow the record.
local function keep_book(job)
  local i = 1
  while #job.book > 20 and i < #job.book do
    local closed = job.book[i].status == 'not_sent' or #job.book > 40 and job.book[i].status == 'refused'
    if closed and not job.book[i].candidate then table.remove(job.book, i) else i = i + 1 end
  end
  if #job.book > 0 then set(job, 'purchases', job.book) end
end

-- The keys that live as long as the record: they expire with it, and stay when it is taken up again.
local function lifelong(job)
  local names = {K.job .. job.id, job.idempotency}
  for _, p in ipairs(job.book) do
    if p.task_id then names[#names + 1] = K.task .. p.task_id end
  end
  return names
end

local function leave(job)
  local home = C.homes[job.state]
  if home == 'line' then
    local line = K.line .. job.tenant
    redis.call('ZREM', line, job.id)
    if redis.call('EXISTS', line) == 0 then redis.call('ZREM', K.tenants, job.tenant) end
  elseif home then
    redis.call('ZREM', K.due[home], job.id)
  else
    redis.call('ZREM', K.ended, job.id)
    redis.call('ZREM', K.unsettled, job.id)
    for _, name in ipairs(lifelong(job)) do redis.call('PERSIST', name) end
  end
  redis.call('ZREM', K.state .. job.state, job.id)
end

-- A finished job's keys are given their common end.
local function expire(job)
  local expires = NOW + (has(job, 'open', 'stray', 'written_off') and C.ttl_open or C.ttl)
  redis.call('ZADD', K.ended, expires, job.id)
  for _, name in ipairs(lifelong(job)) do redis.call('PEXPIREAT', name, text(expires)) end
end

-- Whether it failed beside a purchase that was charged, or may have been: only a person can say what becomes of it.
local function needs_person(job)
  return job.state == 'failed' and has(job, 'open', 'paid')
end

-- A finished job stands among the unsettled ones, or not, as its record says now.
local function keep_in_sight(job)
  if needs_person(job) then redis.call('ZADD', K.unsettled, tonumber(job.since) or NOW, job.id)
  else redis.call('ZREM', K.unsettled, job.id) end
end

local function lift(priority)  -- a step of priority weighs as much as an hour of age
  if priority == 'high' then return 3600000 end
  return priority == 'low' and -3600000 or 0
end

local function enter(job, state, alarm)
  local home = C.homes[state]
  if home == 'line' then
    redis.call('ZADD', K.line .. job.tenant, (tonumber(job.created_at) or NOW) - lift(job.priority), job.id)
    redis.call('ZADD', K.tenants, 'NX', redis.call('GET', K.turn) or 0, job.tenant)
  elseif home then
    redis.call('ZADD', K.due[home], alarm or NOW, job.id)
  else
    expire(job)
    keep_in_sight(job)
  end
  redis.call('ZADD', K.state .. state, job.created_at, job.id)
end

-- How many unfinished jobs of a tenant are in a state. The exporter shows it, and may read no record. A job that was never
-- counted (a release that kept no counts made it) takes none below nothing; recount.lua puts right what is wrong.
local function tally(job, state, by)
  local field = state .. ' ' .. (job.tenant or '')
  if redis.call('HINCRBY', K.by_tenant, field, by) <= 0 then redis.call('HDEL', K.by_tenant, field) end
end

-- The job goes from one count to another; its end is counted among those of these minutes. `from`: nil for a new job.
local function count(job, from, to)
  if C.homes[from] then tally(job, from, -1) end
  if C.homes[to] then return tally(job, to, 1) end
  local ends = K.ends .. math.floor(NOW / C.ends.span)
  redis.call('HINCRBY', ends, to .. ' ' .. (job.tenant or ''), 1)
  redis.call('PEXPIRE', ends, C.ends.kept)
end

-- One line of JSON for each event, without the empty words at its end: [at, state, step, worker, note].
local function event_line(state, event)
  local words = {NOW, state, event.step or '', event.worker or '', event.note or ''}
  while words[#words] == '' do words[#words] = nil end
  return cjson.encode(words)
end

local function record_event(job, state, event)
  local lines = (job.events and job.events .. '\n' or '') .. event_line(state, event)
  local _, breaks = lines:gsub('\n', '')
  for _ = C.events, breaks do lines = lines:sub(lines:find('\n', 1, true) + 1) end
  set(job, 'events', lines)
end

-- What only matters while a purchase is armed or sent: it would make up a tenth of a waiting job's memory.
local BRIEF = {armed_under = 'armed', durable_at = 'armed', sender = 'submitting', sent_until = 'submitting'}

-- A stray becomes the job's purchase again: it has no slot, and whoever is at work for the job has lost it.
local function follow_stray(job, p)
  book(p, 'open')
  set(job, 'nonce', p.nonce)
  set(job, 'task_id', p.task_id)
  set(job, 'running_since', NOW)
  for _, field in ipairs({'failure', 'verdict', 'result'}) do unset(job, field) end
  redis.call('ZREM', K.transfers, job.id)
  if job.state == 'uploading' or job.state == 'delivering' then unset(job, 'claim') end
end

-- Moves the job to `state` (which may be the one it is in), with its alarm, and saves it.
local function move(job, state, alarm, event)
  local from, p = job.state, C.rests[state] and stray(job)
  leave(job)
  if p then
    if event then record_event(job, state, event) end
    follow_stray(job, p)
    state, alarm = C.rests[state], NOW
    event = {step = 'check', note = 'task ' .. p.task_id .. ' was made after all: it is followed'}
  end
  if from ~= state then
    set(job, 'since', NOW)
    count(job, from, state)
  end
  set(job, 'state', state)
  for field, during in pairs(BRIEF) do
    if state ~= during and job[field] then unset(job, field) end
  end
  keep_book(job)
  if event then record_event(job, state, event) end
  save(job)
  enter(job, state, alarm)
end
