-- Notes a circuit's change, and tells it.
-- KEYS: all circuits, a hash of name -> "<stamp> <until in ms, 0 without an end> <kept until> <news>".
-- ARGV: channel, name, news, ms until which it holds (0: without an end), ms for which that is
-- told to those who look.
-- The stamp is Redis's time in microseconds: later news have a higher one.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stamp = string.format('%.0f', time[1] * 1000000 + time[2])
local left = tonumber(ARGV[4])
local held = left > 0 and left or tonumber(ARGV[5])
local text = string.format('%s %.0f %.0f %s', stamp, left > 0 and now + left or 0, now + held, ARGV[3])

redis.call('HSET', KEYS[1], ARGV[2], text)
if redis.call('PTTL', KEYS[1]) < held then
  redis.call('PEXPIRE', KEYS[1], held)
end
return redis.call('PUBLISH', ARGV[1], stamp .. ' ' .. ARGV[4] .. ' ' .. ARGV[3])
