-- A person wants a finished job to be taken up again. Looks at its purchases, never at why it ended.
-- ARGV[2]  JSON: {id, call, consent?, event}   consent = the open nonces that the person was shown and may pay twice for
-- Returns  {'ok', state} | {'open', nonces…} consent is missing | {'refused', state} not failed or cancelled | {'missing'}
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local job = load(a.id)
if not job then return {'missing'} end
if job.last_call == a.call then return {'ok', job.state} end
if job.state ~= 'failed' and job.state ~= 'cancelled' then return {'refused', job.state} end

local open, paid, shown = {}, nil, {}
for _, nonce in ipairs(a.consent or {}) do shown[nonce] = true end
for _, p in ipairs(job.book) do
  if p.status == 'open' then open[#open + 1] = p end
  if p.status == 'paid' then paid = p end
end

local function go_on(state)
  set(job, 'last_call', a.call)
  unset(job, 'failure')
  for _, field in ipairs({'tries', 'turns', 'generations'}) do set(job, field, 0) end
  move(job, state, NOW, a.event)
  return {'ok', job.state}
end

if paid then
  set(job, 'nonce', paid.nonce)
  set(job, 'task_id', paid.task_id)
  return go_on('delivering')
end
if #open > 0 and not a.consent then
  local last = open[#open]
  if last.task_id then
    set(job, 'running_since', NOW)
    return go_on('running')
  end
end
local unseen = {}
for _, p in ipairs(open) do
  if not shown[p.nonce] then unseen[#unseen + 1] = p.nonce end
end
if #unseen > 0 then return {'open', unpack(unseen)} end
for _, p in ipairs(open) do
  book(p, 'written_off')
  redis.call('ZREM', K.slots, a.id .. ':' .. p.nonce)
end
unset(job, 'deadline')  -- asking again is asking in spite of it
unset(job, 'verdict')
unset(job, 'result')
return go_on('queued')
