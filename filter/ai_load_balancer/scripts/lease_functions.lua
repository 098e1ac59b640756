-- Included by the scripts that take leases, below their contracts. Their KEYS are those of acquire.lua.

local MAX_REAPED = 64              -- expired leases dropped in one call
local KEY_RETENTION_MS = 86400000  -- one day; any lease is far shorter

local counts, leases, expiries = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)

local function reap()
  for _, lease in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now_ms, 'LIMIT', 0, MAX_REAPED)) do
    local held = redis.call('HGET', leases, lease)
    if held then
      local weight, endpoint = string.match(held, '^(%d+) (.*)$')
      if redis.call('HINCRBY', counts, endpoint, -weight) <= 0 then
        redis.call('HDEL', counts, endpoint)
      end
      redis.call('HDEL', leases, lease)
    end
    redis.call('ZREM', expiries, lease)
  end
end

-- Returns the endpoint's new count.
local function take(lease, endpoint, weight, ttl_ms)
  redis.call('HSET', leases, lease, weight .. ' ' .. endpoint)
  redis.call('ZADD', expiries, now_ms + ttl_ms, lease)
  local count = redis.call('HINCRBY', counts, endpoint, weight)
  for _, key in ipairs({counts, leases, expiries}) do
    redis.call('PEXPIRE', key, KEY_RETENTION_MS)
  end
  return count
end

-- Returns the reply, followed by the counts of all endpoints if they are asked for with '1'.
local function with_counts(reply, is_asked, endpoints)
  if is_asked == '1' then
    for _, value in ipairs(redis.call('HMGET', counts, unpack(endpoints))) do
      reply[#reply + 1] = tonumber(value or 0)
    end
  end
  return reply
end
