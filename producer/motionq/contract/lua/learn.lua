-- Takes a lesson about the vendor's speed into the sketch of one kind of job, as `Sketch.learn` in durations.py says.
-- ARGV[2]  JSON: {kind, reached, ended, memory, kinds}   reached, ended = {bin: count}; memory = the most that a bin
--          weighs; kinds = how many sketches there may be
-- Returns  1, or 0 where there are too many kinds already
-- What can't be a count is dropped from what was stored (a broken value, or bins of a newer release), so that any sketch
-- can be read after its next lesson.
local BINS = 96  -- as in durations.py
local a = cjson.decode(ARGV[2])
local text = redis.call('HGET', K.durations, a.kind)
if not text and redis.call('HLEN', K.durations) >= a.kinds then return 0 end
local reached, ended, bins = {}, {}, {}
for bin, n, k in (text or ''):gmatch('(%S+):([%d.e+-]+):([%d.e+-]+)') do
  n, k = tonumber(n) or -1, tonumber(k) or -1
  local known = bin:match('^%d+$') and tostring(tonumber(bin)) == bin and tonumber(bin) < BINS
  if known and 0 <= k and k <= n and n < math.huge then reached[bin], ended[bin] = n, k end
end
for bin, n in pairs(a.reached) do reached[bin] = (reached[bin] or 0) + n end
for bin, k in pairs(a.ended) do
  ended[bin] = (ended[bin] or 0) + k
  reached[bin] = math.max(reached[bin] or 0, ended[bin])
end
for bin, n in pairs(reached) do
  local keep = math.min(1, a.memory / n)
  reached[bin], ended[bin] = n * keep, (ended[bin] or 0) * keep
  if n >= 0.005 and tonumber(bin) < BINS then bins[#bins + 1] = bin end
end
table.sort(bins, function(x, y) return tonumber(x) < tonumber(y) end)
for i, bin in ipairs(bins) do bins[i] = string.format('%s:%.4g:%.4g', bin, reached[bin], ended[bin]) end
redis.call('HSET', K.durations, a.kind, table.concat(bins, ' '))
return 1
