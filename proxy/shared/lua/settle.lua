-- Puts what was used in place of what was reserved; a gauge is given back.
-- KEYS: the holder's reservation, then the count of each want.
-- ARGV: holder, ms for which a holder that gave up is remembered (0: it did not); then for each
-- want: kind, used.
-- What the holder does not hold is passed over, so that to settle twice does nothing.

local function add(key, amount)
  if amount ~= 0 and redis.call('EXISTS', key) == 1 then -- a count that is over stays so
    redis.call('INCRBY', key, string.format('%.0f', amount))
  end
end

local holder = ARGV[1]
for i = 2, #KEYS do
  local key, kind, used = KEYS[i], ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  local marks = redis.call('HGET', KEYS[1], key)
  if marks then
    local mark, rest = string.match(marks, '^(%S+) ?(.*)$')
    if rest == '' then
      redis.call('HDEL', KEYS[1], key)
    else
      redis.call('HSET', KEYS[1], key, rest)
    end
    local amount, index = string.match(mark, '^(%d+):(%d+)')
    if kind == 's' then
      add(key .. ':' .. index, used - amount)
    else
      local held = redis.call('ZREM', key .. ':h', mark .. ':' .. holder) == 1
      used = kind == 'g' and 0 or used
      add(key, held and used - amount or used) -- else its lease is over and was given back
    end
  end
end

if ARGV[2] ~= '0' then
  redis.call('HSET', KEYS[1], 'void', 1)
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
elseif redis.call('HLEN', KEYS[1]) == 1 then
  redis.call('DEL', KEYS[1]) -- only its turn is left
end
