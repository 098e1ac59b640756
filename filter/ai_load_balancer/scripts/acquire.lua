-- Takes a lease on one of the endpoints with the lowest in-flight count.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     the highest count that an endpoint may reach; 0 for no limit
-- ARGV[4]     1 if the reply is to tell all counts, else 0
-- ARGV[5]     handicaps, "<position>:<capacity>:<failures> ..."; nearly always empty
-- ARGV[6]     lease id, unique among all gateways
-- ARGV[7]     a random integer in 0 .. 2^31-1, which decides among equals
-- ARGV[8...]  the endpoints to choose from, at least one
--
-- Returns {i, count}: the lease is on the i-th endpoint, counted from 1, whose in-flight count is now `count`;
-- or {0, count}: no lease was taken, because the lowest count, `count`, leaves no room below the limit.
-- If it was asked for, the counts of all endpoints follow.

-- include lease_functions.lua
-- include least_loaded.lua

reap()

local weight, endpoints = tonumber(ARGV[1]), {unpack(ARGV, 8)}
local equals, lowest = least_loaded(endpoints, weight, tonumber(ARGV[3]), read_handicaps(ARGV[5], endpoints))
if #equals == 0 then
  return with_counts({0, lowest}, ARGV[4], endpoints)
end

local chosen = equals[ARGV[7] % #equals + 1]
return with_counts({chosen, take(ARGV[6], endpoints[chosen], weight, ARGV[2])}, ARGV[4], endpoints)
