-- Makes a FIXED count tell at least what the books say was used; what is reserved comes on top.
-- KEYS: the count. ARGV: what was used, ms that the count is kept.
-- What the count knows already is not added, so that it may come from each process, and again.

local count = tonumber(redis.call('GET', KEYS[1]) or '0')
local held = 0
for _, mark in ipairs(redis.call('ZRANGE', KEYS[1] .. ':h', 0, -1)) do
  held = held + tonumber(string.match(mark, '^%d+'))
end

local missing = tonumber(ARGV[1]) - (count - held)
if missing > 0 then
  redis.call('INCRBY', KEYS[1], string.format('%.0f', missing))
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('PEXPIRE', KEYS[1] .. ':h', ARGV[2])
end
return 1
