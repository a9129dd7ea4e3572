-- Keeps a value until its time is over. 1: kept. 0: `NX` was asked and there is one. -1: Redis
-- would not; it is full, most likely. Said so, and not as an error, the link stays as it is.
-- KEYS: the value's name. ARGV: the value, its ms to live, NX or nothing.

local said = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ARGV[2], unpack(ARGV, 3))
if not said then
  return 0
end
return said.err and -1 or 1
