-- Included below lease_functions.lua.

-- Returns the lowest in-flight count of `endpoints`, and the positions of those that have it.
local function least_loaded(endpoints)
  local lowest, equals = math.huge, {}
  for i, value in ipairs(redis.call('HMGET', counts, unpack(endpoints))) do
    local count = tonumber(value or 0)
    if count < lowest then
      lowest, equals = count, {i}
    elseif count == lowest then
      equals[#equals + 1] = i
    end
  end
  return lowest, equals
end
