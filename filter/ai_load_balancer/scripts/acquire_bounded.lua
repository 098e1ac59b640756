-- Takes a lease on the first endpoint, in an order of preference, that stays within a multiple of the mean count.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     the bound: this many times the mean count of the endpoints with the new lease, rounded up; at least 1
-- ARGV[4]     lease id, unique among all gateways
-- ARGV[5...]  the endpoints to choose from, the preferred ones first, at least one
--
-- Returns {i, count}: the lease is on the i-th endpoint, counted from 1, whose in-flight count is now `count`. A weight
-- above 1 may fit nowhere: then it is the endpoint with the lowest count.

-- include lease_functions.lua

reap()

local weight = tonumber(ARGV[1])
local in_flight = redis.call('HMGET', counts, unpack(ARGV, 5))
local total, lowest = 0, nil
for i, value in ipairs(in_flight) do
  local count = tonumber(value or 0)
  in_flight[i] = count
  total = total + count
  if not lowest or count < in_flight[lowest] then
    lowest = i
  end
end

local bound = math.ceil(ARGV[3] * (total + weight) / #in_flight)
local chosen = lowest
for i, count in ipairs(in_flight) do
  if count + weight <= bound then
    chosen = i
    break
  end
end
return {chosen, take(ARGV[4], ARGV[4 + chosen], weight, ARGV[2])}
