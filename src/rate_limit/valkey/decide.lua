-- Decides about a request as limit/terms.rs and limit/gcra.rs do, by the clock of this server.
-- Times are in microseconds. Numbers are doubles, exact up to 2^53: what comes in and what is
-- made of it stays below.
--
-- KEYS[1]  what is kept of the caller: rest, day, decodes
-- ARGV     interval, window, decodes per day or nothing, 1 where it is for a decode
-- returns  0 allowed, 1 rate limited, 2 quota exceeded; then debt, day, decodes, now

local interval, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local quota, is_decode = tonumber(ARGV[3]), ARGV[4] == '1'

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local today = math.floor(tonumber(time[1]) / 86400)

local kept = redis.pcall('HMGET', KEYS[1], 'rest', 'day', 'decodes')
if kept.err then
  if not string.find(kept.err, 'WRONGTYPE', 1, true) then
    return kept
  end
  -- Somebody else has put it there. It would refuse this caller for ever.
  redis.call('DEL', KEYS[1])
  kept = {}
end
local rest = tonumber(kept[1]) or 0
local day = tonumber(kept[2]) or 0
local decodes = tonumber(kept[3]) or 0

-- The clock is set back at times: a day that is over stays over.
local is_new_day = day < today
if is_new_day then
  day, decodes = today, 0
end

local debt = math.min(math.max(rest - now, 0), window)
local ruling = 0
if is_decode and quota and decodes >= quota then
  ruling = 2
elseif debt + interval > window then
  ruling = 1
else
  debt = debt + interval
  rest = now + debt
  if is_decode then
    decodes = decodes + 1
  end
end

if ruling == 0 or (is_new_day and kept[2]) then
  redis.call('HSET', KEYS[1], 'rest', string.format('%.0f', rest),
    'day', string.format('%.0f', day), 'decodes', string.format('%.0f', decodes))
  local needed_until = math.ceil(rest / 1000)
  if quota and decodes > 0 then
    -- And an hour, for a clock that is set back.
    needed_until = math.max(needed_until, (day + 1) * 86400000 + 3600000)
  end
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', needed_until))
end

return { ruling, debt, day, decodes, now }
