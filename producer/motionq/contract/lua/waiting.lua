-- What a look must know of many jobs, in one call; writes nothing.
-- ARGV[2]  JSON: {ids}
-- Returns  JSON: for each job that exists {id, state, nonce, task ID, running_since, updated_at, model, mode,
--          video_seconds, whether a task was named for one of its purchases, ms until its alarm rings}; false where a
--          field is absent
local found = {}
local FIELDS = {'state', 'nonce', 'task_id', 'running_since', 'updated_at', 'video_seconds', 'spec', 'purchases'}
for _, id in ipairs(cjson.decode(ARGV[2]).ids) do
  local f = redis.pcall('HMGET', K.job .. id, unpack(FIELDS))
  if f[1] then  -- what can't be read is left out: it must not stop the others
    -- Inside of a JSON string every quote has a backslash before it: these patterns find the fields alone.
    local spec, book = f[7] or '', f[8] or ''
    local model, mode = spec:match('"model"%s*:%s*"([^"]*)"'), spec:match('"mode"%s*:%s*"([^"]*)"')
    local named = book:find('"candidate":', 1, true) ~= nil
    local alarm = tonumber(redis.call('ZSCORE', K.due.check, id) or NOW) - NOW
    found[#found + 1] = {id, f[1], f[2], f[3], f[4], f[5], model or false, mode or false, f[6], named, alarm}
  end
end
return cjson.encode(found)
