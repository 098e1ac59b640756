-- Takes a lease on an owner of the longest known prefix of a prompt, else on one of the endpoints with the lowest
-- in-flight count; and writes all prefixes for the endpoint that was taken. Of several owners the one with the lowest
-- count is taken; owners without room below the limit, and those that fail, count as none.
--
-- KEYS[1]     HASH  endpoint -> its in-flight count: the weights of its leases, summed
-- KEYS[2]     HASH  lease id -> "<weight> <endpoint>"
-- KEYS[3]     ZSET  lease id, scored by when the lease expires, in ms since the epoch by this server's clock
-- KEYS[4...]  STRING per block, from the prompt's start on, at least one: its owners, one a line, the latest first
-- ARGV[1]     weight, an integer > 0
-- ARGV[2]     how long the lease lives unless it is renewed, ms
-- ARGV[3]     the highest count that an endpoint may reach; 0 for no limit
-- ARGV[4]     1 if the reply is to tell all counts, else 0
-- ARGV[5]     how long a block is known after it was last used, ms
-- ARGV[6]     handicaps, "<position>:<capacity>:<failures> ..."; nearly always empty
-- ARGV[7]     lease id, unique among all gateways
-- ARGV[8]     a random integer in 0 .. 2^31-1, which decides among equals
-- ARGV[9...]  the endpoints to choose from, at least one; owners that are not among them are dropped from these blocks
--
-- Returns {i, count, n}: the lease is on the i-th endpoint, counted from 1, whose in-flight count is now `count`; it
-- owns the first n blocks, 0 if it was taken for its count alone. Or {0, count, 0}: no lease was taken, because the
-- lowest count, `count`, leaves no room below the limit, and nothing was written.
-- If it was asked for, the counts of all endpoints follow.

-- include lease_functions.lua
-- include least_loaded.lua

local MAX_OWNERS = 4    -- of a block
local MAX_RENEWED = 16  -- blocks at either end of the match; those between them expire unless they are used by others

local OWNER_FAILURES = 3  -- as in policies/handicaps.py

local weight, limit, block_ttl_ms = tonumber(ARGV[1]), tonumber(ARGV[3]), ARGV[5]
local endpoints = {unpack(ARGV, 9)}
local handicaps = read_handicaps(ARGV[6], endpoints)
local known = redis.call('MGET', unpack(KEYS, 4))

local positions  -- endpoint -> its position, made when the first owner is looked up
local looked_up = {}

-- Returns the owners in a block's value that are among the endpoints, and whether there are others.
local function owners_in(value)
  local found = looked_up[value]
  if not found then
    if not positions then
      positions = {}
      for i, endpoint in ipairs(endpoints) do
        positions[endpoint] = i
      end
    end
    found = {owners = {}, has_others = false}
    for owner in string.gmatch(value, '[^\n]+') do
      if positions[owner] then
        found.owners[#found.owners + 1] = owner
      else
        found.has_others = true
      end
    end
    looked_up[value] = found
  end
  return found.owners, found.has_others
end

reap()

-- Returns those of the owners that do not fail.
local function sound(owners)
  if not handicaps then
    return owners
  end
  local found = {}
  for _, owner in ipairs(owners) do
    if not handicaps[owner] or handicaps[owner][2] < OWNER_FAILURES then
      found[#found + 1] = owner
    end
  end
  return found
end

local matched, chosen = 0, nil
for i = #known, 1, -1 do
  local owners = known[i] and owners_in(known[i])
  if owners and #owners > 0 then
    owners = sound(owners)
    if #owners > 0 then
      local equals = least_loaded(owners, weight, limit, handicaps)
      if #equals > 0 then
        matched, chosen = i, owners[equals[ARGV[8] % #equals + 1]]
      end
    end
    break
  end
end

if not chosen then
  local equals, lowest = least_loaded(endpoints, weight, limit, handicaps)
  if #equals == 0 then
    return with_counts({0, lowest, 0}, ARGV[4], endpoints)
  end
  chosen = endpoints[equals[ARGV[8] % #equals + 1]]
end

-- The value with the chosen endpoint as an owner and without those that are gone; false if that is what it is.
local function rewritten(value)
  local owners, has_others = owners_in(value)
  local kept = {chosen}
  for _, owner in ipairs(owners) do
    if owner == chosen and not has_others then
      return false
    end
    if owner ~= chosen and #kept < MAX_OWNERS then
      kept[#kept + 1] = owner
    end
  end
  return table.concat(kept, '\n')
end

local rewrites = {}
for i, value in ipairs(known) do
  local new = chosen
  if value then
    new = rewrites[value]
    if new == nil then
      new = rewritten(value)
      rewrites[value] = new
    end
  end
  if new then
    redis.call('SET', KEYS[3 + i], new, 'PX', block_ttl_ms)
  elseif i <= MAX_RENEWED or i > matched - MAX_RENEWED then
    redis.call('PEXPIRE', KEYS[3 + i], block_ttl_ms)
  end
end

local position = 1
while endpoints[position] ~= chosen do
  position = position + 1
end
return with_counts({position, take(ARGV[7], chosen, weight, ARGV[2]), matched}, ARGV[4], endpoints)
