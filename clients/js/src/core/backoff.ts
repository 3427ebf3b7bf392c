/**
 * The delay before the next attempt in milliseconds, after `attempts` that failed (0 at first): full jitter under a
 * limit that doubles from `min` up to `max`. A gateway's `hint` wins, and the jitter, at most a second then, spreads
 * those who were given the same.
 */
export function backoff(attempts: number, min: number, max: number, hint = 0, random = Math.random()): number {
  return hint + random * Math.min(max, min * 2 ** attempts, hint ? 1000 : max);
}
