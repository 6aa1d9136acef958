-- Counts the unfinished jobs of each tenant anew, in the states whose counts do not add up to the index: a release that keeps no
-- counts moved jobs, or records were lost. Where they add up no job is looked at and nothing is written.
-- Returns  list of the states that were counted anew
local CHUNK = 1000
redis.call('ZREM', K.ended, '')  -- a full server refuses scripts that begin by adding
local sums, counted = {}, {}
local counts = redis.call('HGETALL', K.by_tenant)
for i = 1, #counts, 2 do
  local state = counts[i]:match('^%S*')
  sums[state] = (sums[state] or 0) + tonumber(counts[i + 1])
end

local function forget(state)
  for i = 1, #counts, 2 do
    if counts[i]:match('^%S*') == state then redis.call('HDEL', K.by_tenant, counts[i]) end
  end
end

-- A job without a record is counted for no tenant, so that the sum is right.
local function tenants_of(state, jobs)
  local found = {}
  for first = 0, jobs - 1, CHUNK do
    for _, id in ipairs(redis.call('ZRANGE', K.state .. state, first, first + CHUNK - 1)) do
      local tenant = redis.call('HGET', K.job .. id, 'tenant') or ''
      found[tenant] = (found[tenant] or 0) + 1
    end
  end
  return found
end

for state in pairs(C.homes) do
  local jobs = redis.call('ZCARD', K.state .. state)
  if (sums[state] or 0) ~= jobs then
    forget(state)
    for tenant, n in pairs(tenants_of(state, jobs)) do redis.call('HSET', K.by_tenant, state .. ' ' .. tenant, n) end
    counted[#counted + 1] = state
  end
end
return counted
