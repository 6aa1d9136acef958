-- Opens the gate, except one that is closed as `restored` for somebody who does not say that he has looked: then purchases
-- may be missing from the records, and what is bought next may be bought twice.
-- ARGV[2]  JSON: {restored?}   restored = that has been looked at
-- Returns  1 if the gate is open now, 0 if it stays closed
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')
if redis.call('HGET', K.gate, 'reason') == 'restored' and not a.restored then return 0 end
redis.call('DEL', K.gate, K.unclear, K.lied)
return 1
