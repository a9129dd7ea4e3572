-- Returns how each of some values begins; what is no text begins with nothing.
-- KEYS: their names. ARGV: bytes.

local heads = {}
for i, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, ARGV[1] - 1)
  heads[i] = type(head) == 'string' and head or ''
end
return heads
