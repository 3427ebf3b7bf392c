import type { Options } from "./options.js";

/** How often the clock is looked at, at least, and how late that is where the machine was asleep. */
const TICK_MS_MAX = 5000;
const ASLEEP_MS = 15_000;

/**
 * Notices that the other end has gone, which a network does not tell. `canAsk` says whether it can be asked: while it
 * cannot, it has to say something by itself. `lost` is told that it is not there, `wake` that the network, the page or
 * the machine is back.
 */
export function createWatch(
  { pingInterval = 20_000, pingTimeout = 10_000 }: Options,
  canAsk: () => unknown,
  ask: () => void,
  lost: () => void,
  wake: () => void,
) {
  let timer: ReturnType<typeof setInterval> | undefined;
  let heard = 0;
  let asked: number | undefined;
  let ticked = 0;

  function askNow(): void {
    if (!canAsk()) return;
    asked = Date.now();
    ask();
  }

  function tick(): void {
    const now = Date.now();
    // Timers of a machine that was asleep, or of a page that was frozen, are late. Those of a clock that was set back are
    // early.
    const wasAsleep = Math.abs(now - ticked) > ASLEEP_MS;
    ticked = now;
    // The clock may have been set back.
    heard = Math.min(heard, now);
    const since = asked || (canAsk() ? now : heard);
    if (now - since >= pingTimeout) lost();
    else if (wasAsleep || (!asked && now - heard >= pingInterval)) askNow();
  }

  function listen(isWanted: boolean): void {
    clearInterval(timer);
    const change = isWanted ? "addEventListener" : "removeEventListener";
    for (const type of ["online", "visibilitychange"]) globalThis[change]?.(type, wake);
    ticked = Date.now();
    if (isWanted) timer = setInterval(tick, Math.min(pingTimeout / 2, TICK_MS_MAX));
  }

  return {
    listen,
    askNow,
    /** The other end has said something, or is about to. */
    hear(): void {
      heard = Date.now();
      asked = 0;
    },
  };
}
