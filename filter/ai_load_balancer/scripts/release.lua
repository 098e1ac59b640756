-- Gives leases back. A lease that is not there, or no longer, changes nothing: releasing twice is the same as once.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by its expiry
-- ARGV[1...]  lease ids
--
-- Returns how many leases were given back.

local released = 0
for _, lease in ipairs(ARGV) do
  local held = redis.call('HGET', KEYS[2], lease)
  if held then
    local weight, endpoint = string.match(held, '^(%d+) (.*)$')
    if redis.call('HINCRBY', KEYS[1], endpoint, -weight) <= 0 then
      redis.call('HDEL', KEYS[1], endpoint)
    end
    redis.call('HDEL', KEYS[2], lease)
    redis.call('ZREM', KEYS[3], lease)
    released = released + 1
  end
end
return released
