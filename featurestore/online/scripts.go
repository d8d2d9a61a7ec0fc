package online

import "github.com/redis/go-redis/v9"

// A script that fails midway is not undone, so each one checks everything before its
// first write. Offsets are compared as strings where equality is asked: Lua's numbers
// are doubles.

// commitScript writes the rows of a bucket and moves a watermark, all or nothing.
//
//	KEYS: watermarks, row…
//	ARGV: field, expected watermark ('' for none), next, then for each row: stamp of
//	      the row that it replaces ('' for none), expiry in ms since 1970 ('' for
//	      never), row ('' to delete it)
//
// It answers {0}; or {1, watermark (” for none)}; or {2, index, row, index, row, …}.
var commitScript = redis.NewScript(`
local mark = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if mark ~= ARGV[2] or (mark == '' and redis.call('EXISTS', KEYS[1]) == 0) then
  return {1, mark}
end
local changed = {2}
for i = 2, #KEYS do
  if redis.call('GETRANGE', KEYS[i], 0, 7) ~= ARGV[3 * i - 2] then
    changed[#changed + 1] = i - 2
    changed[#changed + 1] = redis.call('GET', KEYS[i]) or ''
  end
end
if #changed > 1 then return changed end
for i = 2, #KEYS do
  if ARGV[3 * i] == '' then
    redis.call('DEL', KEYS[i])
  elseif ARGV[3 * i - 1] == '' then
    redis.call('SET', KEYS[i], ARGV[3 * i])
  else
    redis.call('SET', KEYS[i], ARGV[3 * i], 'PXAT', ARGV[3 * i - 1])
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {0}
`)

// fillScript marks a generation or a bucket as filling.
//
//	KEYS: live, fill      ARGV: field, target, field, target, …
var fillScript = redis.NewScript(`
redis.call('SET', KEYS[1], 'filling')
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], unpack(ARGV))
return 0
`)

// advanceScript takes a partition off the fill when every bucket has reached its
// target, and makes the marker live when no partition is left. It answers the marker, or
// "behind" while the partition has to go on.
//
//	KEYS: live, fill, watermarks…      ARGV: field
var advanceScript = redis.NewScript(`
local live = redis.call('GET', KEYS[1]) or ''
if live ~= 'filling' then return live end
local target = redis.call('HGET', KEYS[2], ARGV[1])
if target then
  for i = 3, #KEYS do
    local mark = redis.call('HGET', KEYS[i], ARGV[1])
    if not mark or tonumber(mark) < tonumber(target) then return 'behind' end
  end
  redis.call('HDEL', KEYS[2], ARGV[1])
end
if redis.call('EXISTS', KEYS[2]) == 1 then return live end
redis.call('SET', KEYS[1], 'live')
return 'live'
`)

// putScript writes rows of a bucket that is being rebuilt, and moves its step.
//
//	KEYS: step, row…
//	ARGV: step before, step after, then for each row: expiry in ms since 1970 ('' for
//	      never), row ('' to delete it)
//
// It answers 1, or 0 when the bucket is at another step.
var putScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for i = 2, #KEYS do
  if ARGV[2 * i] == '' then
    redis.call('DEL', KEYS[i])
  elseif ARGV[2 * i - 1] == '' then
    redis.call('SET', KEYS[i], ARGV[2 * i])
  else
    redis.call('SET', KEYS[i], ARGV[2 * i], 'PXAT', ARGV[2 * i - 1])
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1
`)

// endScript gives a rebuilt bucket its watermarks.
//
//	KEYS: step, watermarks      ARGV: last step, field, offset, field, offset, …
//
// It answers 1, or 0 when the bucket is at another step.
var endScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], unpack(ARGV, 2))
redis.call('DEL', KEYS[1])
return 1
`)
