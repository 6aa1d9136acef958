-- Holds in-flight slots against the purchases that they were taken for. One comes back only where it is certain that
-- nothing is under way for it: the job has ended, and the purchase is settled.
-- ARGV[2]  JSON: {members, fix?}   members = `job:nonce`
-- Returns  list of {job ID, kind, 'slots'}: slot_settled (the one kind that is mended) | slot_lost (no such job or
--          purchase on record) | slot_kept (the job has ended, and what became of the purchase is not known)
--          | slot_early (the purchase is closed, the job goes on)
local a = cjson.decode(ARGV[2])
if a.fix then redis.call('ZREM', K.ended, '') end
local SETTLED = {not_sent = true, refused = true, refunded = true, paid = true}
local FINAL, found = {}, {}
for _, state in ipairs(C.final) do FINAL[state] = true end

local function kind_of(id, nonce)
  local readable, job = pcall(load, id)
  if not readable then return nil end  -- told as a record that can't be read
  if not job or not job.state then return 'slot_lost' end
  if not C.homes[job.state] and not FINAL[job.state] then return nil end
  local p = purchase(job, nonce)
  if not p then return 'slot_lost' end
  if C.homes[job.state] then return SETTLED[p.status] and 'slot_early' end
  return SETTLED[p.status] and 'slot_settled' or 'slot_kept'
end

for _, member in ipairs(a.members) do
  local id, nonce = member:match('^(.*):(.*)$')
  local kind = redis.call('ZSCORE', K.slots, member) and kind_of(id or member, nonce)
  if kind then
    found[#found + 1] = {id or member, kind, 'slots'}
    if a.fix and kind == 'slot_settled' then redis.call('ZREM', K.slots, member) end
  end
end
return found
