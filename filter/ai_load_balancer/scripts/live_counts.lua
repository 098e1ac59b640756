-- Reads the in-flight counts of live leases, as an operator or a test wants to see them: expired leases that no acquire
-- has dropped yet do not count. Writes nothing.
--
-- KEYS[1]  HASH  endpoint -> its in-flight count (not read)
-- KEYS[2]  HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]  ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
--
-- Returns {endpoint, count, endpoint, count, ...}, in no particular order; empty if nothing is in flight.

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local counts = {}
for _, lease in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. now_ms, '+inf')) do
  local held = redis.call('HGET', KEYS[2], lease)
  if held then
    local weight, endpoint = string.match(held, '^(%d+) (.*)$')
    counts[endpoint] = (counts[endpoint] or 0) + weight
  end
end
local reply = {}
for endpoint, count in pairs(counts) do
  reply[#reply + 1] = endpoint
  reply[#reply + 1] = count
end
return reply
