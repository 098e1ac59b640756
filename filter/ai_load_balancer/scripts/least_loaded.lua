-- Included below lease_functions.lua.

-- Returns endpoint -> {capacity, failures} from "<position>:<capacity>:<failures> ...", nil if the text is empty. Such
-- an endpoint looks busier than its count says (policies/handicaps.py).
local function read_handicaps(text, endpoints)
  if text == '' then
    return nil
  end
  local handicaps = {}
  for position, capacity, failures in string.gmatch(text, '(%d+):([%d.]+):(%d+)') do
    handicaps[endpoints[tonumber(position)]] = {tonumber(capacity), tonumber(failures)}
  end
  return handicaps
end

-- What a count weighs.
local function load_of(endpoint, count, handicaps)
  local handicap = handicaps and handicaps[endpoint]
  return handicap and (count + handicap[2] + 1) / handicap[1] - 1 or count
end

-- Returns the positions of those of `endpoints` that have room for `weight` below the limit and the lowest load of
-- these, none if there is no room; and the lowest count of all.
local function least_loaded(endpoints, weight, limit, handicaps)
  local lowest_count, lowest_load, equals = math.huge, math.huge, {}
  for i, value in ipairs(redis.call('HMGET', counts, unpack(endpoints))) do
    local count = tonumber(value or 0)
    if count < lowest_count then
      lowest_count = count
    end
    if limit == 0 or count + weight <= limit then
      local load = handicaps and load_of(endpoints[i], count, handicaps) or count
      if load < lowest_load then
        lowest_load, equals = load, {i}
      elseif load == lowest_load then
        equals[#equals + 1] = i
      end
    end
  end
  return equals, lowest_count
end
