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

local MAX_REAPED = 64           -- expired leases dropped in one call
local KEY_RETENTION_MS = 86400000  -- one day; any lease is far shorter

local counts, leases, expiries = KEYS[1], KEYS[2], KEYS[3]
local weight, limit, new_lease = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

for _, lease in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now_ms, 'LIMIT', 0, MAX_REAPED)) do
  local held = redis.call('HGET', leases, lease)
  if held then
    local held_weight, endpoint = string.match(held, '^(%d+) (.*)$')
    if redis.call('HINCRBY', counts, endpoint, -held_weight) <= 0 then
      redis.call('HDEL', counts, endpoint)
    end
    redis.call('HDEL', leases, lease)
  end
  redis.call('ZREM', expiries, lease)
end

local lowest, equals = math.huge, {}
for i, value in ipairs(redis.call('HMGET', counts, unpack(ARGV, 6))) do
  local count = tonumber(value or 0)
  if count < lowest then
    lowest, equals = count, {i}
  elseif count == lowest then
    equals[#equals + 1] = i
  end
end

if limit > 0 and lowest + weight > limit then
  return {0, lowest}
end

local chosen = equals[ARGV[5] % #equals + 1]
local endpoint = ARGV[5 + chosen]
redis.call('HSET', leases, new_lease, weight .. ' ' .. endpoint)
redis.call('ZADD', expiries, now_ms + ARGV[2], new_lease)
local count = redis.call('HINCRBY', counts, endpoint, weight)
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, KEY_RETENTION_MS)
end
return {chosen, count}
