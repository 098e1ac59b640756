-- Takes a lease on the service with the lowest product of its local score and (its in-flight count + 1).
--
-- KEYS[1]     HASH  service -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <service>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     lease id, unique among all gateways
-- ARGV[4]     a random integer in 0 .. 2^31-1, which decides among equals
-- ARGV[5...]  service and local score (a number > 0) of each candidate, one after the other, at least one
--
-- Returns {i, count}: the lease is on the i-th candidate, counted from 1, whose in-flight count is now `count`.

-- include lease_functions.lua

reap()

local lowest, equals = math.huge, {}
for i = 5, #ARGV, 2 do
  local score = ARGV[i + 1] * ((redis.call('HGET', counts, ARGV[i]) or 0) + 1)
  if score < lowest then
    lowest, equals = score, {i}
  elseif score == lowest then
    equals[#equals + 1] = i
  end
end

local chosen = equals[ARGV[4] % #equals + 1]
return {(chosen - 3) / 2, take(ARGV[3], ARGV[chosen], ARGV[1], ARGV[2])}
