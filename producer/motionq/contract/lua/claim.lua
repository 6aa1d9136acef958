-- Claims due alarms of one step: each is moved to the end of its lease, so a dead worker's job wakes by itself.
-- ARGV[2]  JSON: {step, room, lease, transfers?, rate?, parked}   transfers = how many may be outstanding altogether;
--          rate = how many rate slots there are; parked = states that need a rate slot before their message is published
-- Returns  list of {job ID, n, the step before or '', turns}; n counts this step's claims of the job, and is -1 for a
--          record of a newer schema (then its version stands for the parent), which is not claimed: it waits a lease
local LOOK_AT = 1000  -- due uploads: most of a crowd with one video are put in line here, and claim nothing
local a = cjson.decode(ARGV[2])
local due = K.due[a.step]
redis.call('ZREM', K.ended, '')
local room = a.room
if a.transfers then
  redis.call('ZREMRANGEBYSCORE', K.transfers, '-inf', NOW)
  room = math.min(room, a.transfers - redis.call('ZCARD', K.transfers))
end
local slots = 0
if a.rate then
  redis.call('ZREMRANGEBYSCORE', K.rate, '-inf', NOW)
  slots = a.rate - redis.call('ZCARD', K.rate)
end
local claims = {}
if room <= 0 then return claims end

-- A rate slot is reserved here and taken at the POST, so that no message is published only to wait.
local function may_start(job)
  if not a.rate or job.state ~= a.parked then return true end
  local member = job.id .. ':' .. job.nonce
  if redis.call('ZSCORE', K.rate, member) then return true end
  if slots <= 0 then return false end
  slots = slots - 1
  redis.call('ZADD', K.rate, NOW + a.lease, member)
  return true
end

-- A file that another job uploads now is waited for without a message of one's own (uploads.py has the same rule for
-- files that nobody knows before they are fetched).
local function in_line(id)
  local known, spec = pcall(cjson.decode, redis.call('HGET', K.job .. id, 'spec') or '')
  for _, file in ipairs(known and type(spec) == 'table' and {spec.image or '', spec.video or ''} or {}) do
    local content = type(file) == 'table' and type(file.sha256) == 'string' and file.sha256
    local left = content and redis.call('PTTL', K.uploading .. content) or 0
    if left <= 0 then
      if content then redis.call('SREM', K.waiting .. content, id) end
    else
      redis.call('SADD', K.waiting .. content, id)
      redis.call('PEXPIRE', K.waiting .. content, a.lease * 10)
      redis.call('ZADD', due, NOW + left, id)
      return true
    end
  end
  return false
end

local function claim(job)
  redis.call('ZADD', due, NOW + a.lease, job.id)
  local n = redis.call('HINCRBY', K.job .. job.id, 'n_' .. a.step, 1)
  redis.call('HSET', K.job .. job.id, 'claim', a.step .. '.' .. n)
  redis.call('HDEL', K.job .. job.id, 'parent')
  if a.transfers then redis.call('ZADD', K.transfers, NOW + a.lease, job.id) end
  claims[#claims + 1] = {job.id, n, job.parent or '', tonumber(job.turns) or 0}
end

local look_at = a.step == 'upload' and math.max(room, LOOK_AT) or a.rate and 1000 or room
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', NOW, 'LIMIT', 0, look_at)) do
  if #claims >= room then break end
  local flat = redis.call('HMGET', K.job .. id, 'state', 'nonce', 'parent', 'turns', 'schema_version', 'claim')
  local job = {id = id, state = flat[1], nonce = flat[2], parent = flat[3] or flat[6], turns = flat[4]}
  if not job.state then
    redis.call('ZREM', due, id)
  elseif newer(flat[5]) then
    redis.call('ZADD', due, NOW + a.lease, id)
    claims[#claims + 1] = {id, -1, flat[5], 0}
  elseif a.step == 'upload' and in_line(id) then
    -- its uploader, or the end of that one's lease, wakes it
  elseif may_start(job) then
    claim(job)
  end
end
return claims
