-- Takes every share or none; `proxy.counters` says what the kinds mean.
-- KEYS: the holder's reservation, then the count of each want.
-- ARGV: holder, lease in ms; then for each want: kind (s, f, g), limit, amount, window in ms and
-- where it begins, in ms since the epoch.
-- Returns 'void' where the holder has given up, else the index of the first want without room or
-- -1, then what remains of each, then the ms until each is whole or may be free.
--
-- A SLIDING count is a number for each fixed window, `<key>:<index>`. FIXED and GAUGE counts are
-- a number and, in `<key>:h`, who holds how much of it until when. The reservation is a hash of
-- count -> its marks, each `amount:index:turn`; `turn` tells one of a holder's from the next.
-- A FIXED count belongs to where its window begins, by the caller's clock: it is enforced however
-- far the clocks are apart, and only the wait until it ends is Redis's to tell.
-- Numbers are exact up to 2^53: nine million dollars in nano-dollars.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, lease = ARGV[1], tonumber(ARGV[2])

if redis.call('HEXISTS', KEYS[1], 'void') == 1 then
  return 'void'
end

local function count(key)
  return tonumber(redis.call('GET', key) or '0')
end

local function sweep(key)
  for _, mark in ipairs(redis.call('ZRANGEBYSCORE', key .. ':h', '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', key .. ':h', mark)
    if redis.call('EXISTS', key) == 1 then
      redis.call('DECRBY', key, string.match(mark, '^%d+'))
    end
  end
end

local wants, blocked = {}, -1
for i = 2, #KEYS do
  local at = 3 + (i - 2) * 5
  local want = {
    key = KEYS[i],
    kind = ARGV[at],
    limit = tonumber(ARGV[at + 1]),
    text = ARGV[at + 2],
    amount = tonumber(ARGV[at + 2]),
    window = tonumber(ARGV[at + 3]),
    ends = tonumber(ARGV[at + 4]) + tonumber(ARGV[at + 3]),
  }
  if want.kind == 's' then
    want.index = math.floor(now / want.window)
    want.left = (want.index + 1) * want.window - now
    want.current = count(want.key .. ':' .. want.index)
    want.previous = count(want.key .. ':' .. (want.index - 1))
  else
    sweep(want.key)
    want.current = count(want.key)
  end
  wants[i - 1] = want
end

local function used(want)
  if want.kind == 's' then
    return want.current + math.floor(want.previous * want.left / want.window)
  end
  return want.current
end

for i, want in ipairs(wants) do
  want.lacks = used(want) + want.amount > want.limit
  if want.lacks and blocked < 0 then
    blocked = i - 1
  end
end

local function take(want)
  local mark = want.text .. ':' .. (want.index or 0) .. ':'
    .. redis.call('HINCRBY', KEYS[1], 'turn', 1)
  if want.kind == 's' then
    local bucket = want.key .. ':' .. want.index
    redis.call('INCRBY', bucket, want.text)
    redis.call('PEXPIRE', bucket, 2 * want.window)
  else
    local held = want.kind == 'g' and want.window or lease
    local kept = want.kind == 'g' and want.window or want.window + lease
    redis.call('INCRBY', want.key, want.text)
    redis.call('ZADD', want.key .. ':h', now + held, mark .. ':' .. holder)
    redis.call('PEXPIRE', want.key, kept)
    redis.call('PEXPIRE', want.key .. ':h', kept)
  end
  local marks = redis.call('HGET', KEYS[1], want.key)
  redis.call('HSET', KEYS[1], want.key, (marks and marks .. ' ' or '') .. mark)
  want.current = want.current + want.amount
end

if blocked < 0 and #wants > 0 then
  local longest = lease
  for _, want in ipairs(wants) do
    take(want)
    if want.kind == 'g' then
      longest = math.max(longest, want.window)
    end
  end
  redis.call('PEXPIRE', KEYS[1], longest)
end

-- The longest overlap, up to `left`, of which `amount` counts at most `most`.
local function overlap(amount, most, left, window)
  return amount > 0 and math.min(left, math.floor(((most + 1) * window - 1) / amount)) or left
end

local function wait(want)
  local most = want.lacks and want.limit - want.amount or 0
  if want.kind == 'g' then
    return used(want) <= most and 0 or 1000
  elseif want.kind == 'f' then
    return used(want) <= most and 0 or math.max(0, want.ends - now)
  elseif most < 0 then
    return want.window
  elseif want.current <= most then
    return want.left - overlap(want.previous, most - want.current, want.left, want.window)
  end
  return want.left + want.window - overlap(want.current, most, want.window, want.window)
end

local answer = { blocked }
for _, want in ipairs(wants) do
  answer[#answer + 1] = string.format('%.0f', math.max(0, want.limit - used(want)))
end
for _, want in ipairs(wants) do
  answer[#answer + 1] = string.format('%.0f', wait(want))
end
return table.concat(answer, ' ')
