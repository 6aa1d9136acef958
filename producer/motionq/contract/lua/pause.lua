-- Pauses submission for the whole account. Of two pauses the one that ends later stays: a short pause of a worker's
-- must not open a gate that a person closed, and `restored` stays in any case. The same trouble again, found by the probe, doubles the pause.
-- ARGV[2]  JSON: {reason, message, lasts?, longest?, key?, need?}   lasts = ms of the first such pause, absent: until
--          somebody (or a look at the account) resumes; longest = ms it may grow to; key = which key it is about;
--          need = credits that were wanted
-- Returns  1 if this pause is on record now, 0 if a longer one stays
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
local known = redis.call('HMGET', K.gate, 'reason', 'until', 'again', 'probe', 'key')
local reason, ends, probe = known[1], tonumber(known[2] or -1), known[4]
local half_open = reason and ends > 0 and ends <= NOW
local again = reason == a.reason and tonumber(known[3] or 0) or 0  -- another reason begins anew
if reason == a.reason and half_open and probe then again = again + 1 end

local lasts = a.lasts and math.min(a.lasts * (half_open and 2 ^ again or 1), a.longest or a.lasts)
local new = lasts and NOW + lasts or 0
if reason == 'restored' and a.reason ~= reason then return 0 end  -- or the next resume would open what nobody looked at
if reason and not half_open then
  if ends == 0 and new > 0 or ends > NOW and new > 0 and new < ends then return 0 end
  local a_persons = ends == 0 and (known[5] or '') == ''  -- it is about no key: only a person ends it
  if a_persons and (a.key or '') ~= '' then return 0 end
end
redis.call('DEL', K.gate)
redis.call('HSET', K.gate, 'reason', a.reason, 'since', text(NOW), 'until', text(new), 'message', a.message,
  'again', text(again), 'key', a.key or '', 'need', a.need or 0)
return 1
