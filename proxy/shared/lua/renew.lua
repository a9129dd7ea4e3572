-- Makes leases longer; 1 for each that is the caller's still, 0 for what has lapsed.
-- KEYS: the leases. ARGV: ms, then the token of each.

local renewed = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key) == ARGV[i + 1]
  renewed[i] = held and redis.call('PEXPIRE', key, ARGV[1]) or 0
end
return renewed
