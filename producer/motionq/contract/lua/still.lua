-- Nothing new about many tasks: the alarms of their jobs are set anew. What `still_running` does in move.lua, for looks
-- that leave the record as it is; so a repeated call needs no token.
-- ARGV[2]  JSON: {looks, states}   looks = list of {id, nonce, task ID, ms until the next look}; states = where it may be
-- Returns  how many alarms were set; a job that has moved on, or another purchase's, keeps its own
local a = cjson.decode(ARGV[2])
redis.call('ZREM', K.ended, '')  -- a full server refuses scripts that begin by adding
local set = 0
for _, look in ipairs(a.looks) do
  local id, nonce, task, alarm_in = unpack(look)
  local f = redis.pcall('HMGET', K.job .. id, 'state', 'nonce', 'task_id')
  if a.states[f[1]] and f[2] == nonce and f[3] == task then
    redis.call('ZADD', K.due[C.homes[f[1]]], NOW + alarm_in, id)
    redis.call('HSET', K.job .. id, 'updated_at', text(NOW))
    set = set + 1
  end
end
return set
