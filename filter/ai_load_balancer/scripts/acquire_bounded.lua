-- Takes a lease on the first endpoint, in an order of preference, that stays within a multiple of the mean count.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     the bound: this many times the mean count of the endpoints with the new lease, rounded up; at least 1
-- ARGV[4]     1 if the reply is to tell all counts, else 0
-- ARGV[5]     handicaps, "<position>:<capacity>:<failures> ..."; nearly always empty
-- ARGV[6]     lease id, unique among all gateways
-- ARGV[7...]  the endpoints to choose from, the preferred ones first, at least one
--
-- Returns {i, count}: the lease is on the i-th endpoint, counted from 1, whose in-flight count is now `count`. If it
-- fits nowhere, because of a weight above 1 or of handicaps, it is the endpoint with the lowest load.
-- If it was asked for, the counts of all endpoints follow.

-- include lease_functions.lua
-- include least_loaded.lua

reap()

local weight, endpoints = tonumber(ARGV[1]), {unpack(ARGV, 7)}
local handicaps = read_handicaps(ARGV[5], endpoints)
local loads = redis.call('HMGET', counts, unpack(endpoints))
local total, chosen = 0, 1
for i, value in ipairs(loads) do
  local count = tonumber(value or 0)
  total = total + count
  loads[i] = load_of(endpoints[i], count, handicaps)
  if loads[i] < loads[chosen] then
    chosen = i
  end
end

local bound = math.ceil(ARGV[3] * (total + weight) / #endpoints)
for i, load in ipairs(loads) do
  if load + weight <= bound then
    chosen = i
    break
  end
end
return with_counts({chosen, take(ARGV[6], endpoints[chosen], weight, ARGV[2])}, ARGV[4], endpoints)
