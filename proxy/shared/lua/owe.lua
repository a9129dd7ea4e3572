-- Adds what was used while nobody counted here.
-- KEYS: the batch, then the counts. ARGV: lease in ms; then for each count: kind (s, f), used,
-- window in ms, ms since it was used.
-- A batch is added once, however often it comes.

if not redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then
  return 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = 2, #KEYS do
  local at = 2 + (i - 2) * 4
  local kind, used, window = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  if kind == 'f' then
    local kept = window + tonumber(ARGV[1])
    redis.call('INCRBY', KEYS[i], used)
    redis.call('PEXPIRE', KEYS[i], kept)
    redis.call('PEXPIRE', KEYS[i] .. ':h', kept)
  else
    local index = math.floor((now - ARGV[at + 3]) / window)
    if index >= math.floor(now / window) - 1 then
      local bucket = KEYS[i] .. ':' .. index
      redis.call('INCRBY', bucket, used)
      redis.call('PEXPIRE', bucket, 2 * window)
    end
  end
end
return 1
