-- Moves a job as one Move of contract/states.py says: validates first, writes once, and a repeated call is success.
-- ARGV[2]  JSON: {id, call, move, claim?, nonce?, task?, set?, add?, unset?, purchase?, alarm_at? | alarm_in?, event?}
--          call = random token of this call; set/add/unset = fields of the record; purchase = fields of the purchase;
--          task with a move that binds one: the vendor's task ID; spent = what the vendor's price differs from the
--          estimate, in credits
-- Returns  {'ok' | 'booked' | 'fenced' | 'missing' | 'bound', the job's state now}
--          booked: the purchase was booked, the job did not move; bound: another purchase owns this task ID
local a = cjson.decode(ARGV[2])
local m = a.move
redis.call('ZREM', K.ended, '')  -- a full server refuses scripts that begin by adding
local job = load(a.id)
if not job then return {'missing', ''} end
if job.last_call == a.call then return {'ok', job.state} end

local claimed = m.fence == 'claim' or m.fence == 'claim_task'
if claimed and (not a.claim or job.claim ~= a.claim) then return {'fenced', job.state} end
if m.fence == 'claim_task' and (job.task_id or '') ~= (a.task or '') then return {'fenced', job.state} end
if m.newest and (purchase(job, job.nonce) or {}).status ~= m.newest then return {'fenced', job.state} end

local p, target, status = nil, m.to[job.state], nil
if m.fence == 'nonce' or m.fence == 'task' then
  p = purchase(job, a.nonce)
  status = p and m.books[p.status]
  if not status then return {'fenced', job.state} end
  if m.has_task ~= nil and m.has_task ~= (p.task_id ~= nil) then return {'fenced', job.state} end
  if m.fence == 'task' and p.task_id ~= a.task then return {'fenced', job.state} end
  if m.binds_task and p.task_id and p.task_id ~= a.task and not p.unchecked then return {'fenced', job.state} end
  if job.nonce ~= a.nonce or (m.binds_task and p.status ~= 'open') then target = nil end
end
local elsewhere = target and m.other_server and m.other_server[job.state] and job.armed_under ~= server_identity()
if elsewhere then  -- possibly sent: nothing is closed and no slot comes back
  target = m.other_server[job.state]
  status = p and p.status
end
if not target and not m.books_late then return {'fenced', job.state} end

if m.binds_task then
  for _, other in ipairs(job.book) do
    if other ~= p and other.task_id == a.task then return {'bound', job.state} end
  end
  if not redis.call('SET', K.task .. a.task, a.id, 'NX') and redis.call('GET', K.task .. a.task) ~= a.id then
    return {'bound', job.state}
  end
  local vouched = a.purchase and a.purchase.unchecked
  if p.task_id == a.task and not target and not vouched then return {'ok', job.state} end
  if p.unchecked and p.task_id ~= a.task then  -- a person was wrong: this one is the purchase's own
    redis.call('DEL', K.task .. p.task_id)
    p.unchecked = nil
  end
  if p.status == 'refused' then redis.call('SET', K.lied, text(NOW), 'PX', 86400000) end
  p.task_id = a.task
  if job.nonce == a.nonce then set(job, 'task_id', a.task) end
end
if p then
  for field, value in pairs(a.purchase or {}) do p[field] = value end
  book(p, status)
  local member = a.id .. ':' .. a.nonce
  if m.frees_slot and not elsewhere then redis.call('ZREM', K.slots, member) end
  if m.rate_slot == 'free' and not elsewhere then redis.call('ZREM', K.rate, member) end
  if m.rate_slot == 'answered' then redis.call('ZADD', K.rate, 'XX', NOW + C.rate_window, member) end
  if m.settles_candidate and (not a.task or not p.candidate or p.candidate == a.task) then
    p.candidate = nil
    redis.call('ZREM', K.candidates, member)
  end
  if m.answers then
    redis.call('DEL', K.unclear)
    if redis.call('HGET', K.gate, 'probe') == member then redis.call('DEL', K.gate) end
  end
  if a.spent then redis.call('HINCRBYFLOAT', K.spent, math.floor(NOW / 86400000), a.spent) end
end
local alarm = a.alarm_at or (NOW + (a.alarm_in or 0))
if m.ends_transfer then redis.call('ZREM', K.transfers, a.id)
elseif claimed then redis.call('ZADD', K.transfers, 'XX', alarm, a.id) end
set(job, 'last_call', a.call)
if not target then
  if C.rests[job.state] and stray(job) then
    move(job, job.state, nil, a.event)
    return {'booked', job.state}
  end
  keep_book(job)
  save(job)
  if not C.homes[job.state] then
    expire(job)  -- a task ID bound just now ends with its record
    keep_in_sight(job)
  end
  return {'booked', job.state}
end
for field, value in pairs(a.set or {}) do set(job, field, value) end
for field, value in pairs(a.add or {}) do set(job, field, (tonumber(job[field]) or 0) + value) end
for _, field in ipairs(a.unset or {}) do unset(job, field) end
move(job, target, alarm, a.event)
return {'ok', job.state}
