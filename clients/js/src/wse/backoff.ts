import type { ReconnectionStrategy } from "./types.js";

export const RECONNECTION: ReconnectionStrategy = {
  mode: "adaptive",
  baseDelay: 1_000,
  maxDelay: 30_000,
  maxAttempts: -1,
  factor: 1.5,
  jitter: true,
};

/** Milliseconds to wait before the next attempt, after `failures` (0 or more) of them in a row. */
export function reconnectDelay(
  { mode, baseDelay, maxDelay, factor, jitter }: ReconnectionStrategy,
  failures: number,
  random: () => number = Math.random,
): number {
  const steps = mode === "linear" ? failures + 1 : mode === "fibonacci" ? fibonacci(failures) : factor ** failures;
  const delay = Math.min(maxDelay, baseDelay * steps);
  return jitter ? delay * (0.5 + random() / 2) : delay;
}

/** 1, 1, 2, 3, 5, .. */
function fibonacci(n: number): number {
  let [a, b] = [1, 1];
  for (let i = 0; i < Math.min(n, 64); i++) [a, b] = [b, a + b];
  return a;
}
