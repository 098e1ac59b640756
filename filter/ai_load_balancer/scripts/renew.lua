-- Extends leases. One that expired meanwhile, or that Redis has lost, is taken again: its request is still in flight.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     how long the leases live from now on, ms
-- ARGV[2...]  lease id, weight, endpoint of each lease, one after the other
--
-- Returns how many leases were taken again.

local KEY_RETENTION_MS = 86400000  -- as in lease_functions.lua

local time = redis.call('TIME')
local expiry_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
local taken = 0
for i = 2, #ARGV, 3 do
  local lease, weight, endpoint = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  redis.call('ZADD', KEYS[3], expiry_ms, lease)
  if redis.call('HSETNX', KEYS[2], lease, weight .. ' ' .. endpoint) == 1 then
    redis.call('HINCRBY', KEYS[1], endpoint, weight)
    taken = taken + 1
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, KEY_RETENTION_MS)
end
return taken
