-- Keeps a question until its time is over; 0 where Redis would not, as it is full. Nothing is
-- kept without an end, whatever goes wrong.
-- KEYS: its name. ARGV: its end in ms since the epoch, then its fields, each with its value.

local said = redis.pcall('HSET', KEYS[1], unpack(ARGV, 2))
if type(said) == 'table' and said.err then
  return 0
end
redis.call('PEXPIREAT', KEYS[1], ARGV[1])
return 1
