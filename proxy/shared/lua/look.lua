-- Returns what is known of all circuits, each as `publish.lua` told it; forgets what is over.
-- KEYS: all circuits.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local told = {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local stamp, ends, kept, news = string.match(all[i + 1], '^(%d+) (%d+) (%d+) (.*)$')
  if tonumber(kept) <= now then
    redis.call('HDEL', KEYS[1], all[i])
  else
    local left = ends == '0' and 0 or ends - now
    told[#told + 1] = stamp .. ' ' .. string.format('%.0f', left) .. ' ' .. news
  end
end
return told
