-- Takes a lease on one of the endpoints with the lowest in-flight count.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     the highest count that an endpoint may reach; 0 for no limit
-- ARGV[4]     lease id, unique among all gateways
-- ARGV[5]     a random integer in 0 .. 2^31-1, which decides among equals
-- ARGV[6...]  the endpoints to choose from, at least one
--
-- Returns {i, count}: the lease is on the i-th endpoint, counted from 1, whose in-flight count is now `count`;
-- or {0, count}: no lease was taken, because the lowest count, `count`, leaves no room below the limit.

-- include lease_functions.lua
-- include least_loaded.lua

reap()

local weight, limit = tonumber(ARGV[1]), tonumber(ARGV[3])
local endpoints = {unpack(ARGV, 6)}
local lowest, equals = least_loaded(endpoints)
if limit > 0 and lowest + weight > limit then
  return {0, lowest}
end

local chosen = equals[ARGV[5] % #equals + 1]
return {chosen, take(ARGV[4], endpoints[chosen], weight, ARGV[2])}
