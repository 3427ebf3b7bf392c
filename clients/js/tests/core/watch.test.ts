// When the other end is asked whether it is there, by a clock that is set and a network that comes and goes.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createWatch } from "../../src/core/watch.js";

const HOUR_MS = 3_600_000;
let canAsk: boolean;
let told: string[];
let watch: ReturnType<typeof createWatch>;
let page: EventTarget;

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
  page = new EventTarget();
  vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
  vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
  canAsk = true;
  told = [];
  const tell = (what: string) => () => void told.push(what);
  watch = createWatch({}, () => canAsk, tell("ask"), tell("lost"), tell("wake"));
  watch.listen(true);
  watch.hear();
});
afterEach(() => {
  watch.listen(false);
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

/** Sets the clock by so much, as a user or NTP does: no timer is late for it. */
const set = (ms: number) => vi.setSystemTime(Date.now() + ms);

test("the other end is asked after silence, and lost without an answer", () => {
  vi.advanceTimersByTime(20_000);
  expect(told).toEqual(["ask"]);
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual(["ask", "lost"]);
});

test.each([-HOUR_MS, HOUR_MS])("a clock that is set by %i ms has it asked at once", (ms) => {
  set(ms);
  vi.advanceTimersByTime(5_000);
  expect(told).toEqual(["ask"]);
  watch.hear();
  vi.advanceTimersByTime(20_000);
  expect(told).toEqual(["ask", "ask"]);
});

test("a clock that is set back while an answer is waited for has it asked again, and lost", () => {
  vi.advanceTimersByTime(20_000);
  set(-HOUR_MS);
  vi.advanceTimersByTime(5_000);
  expect(told).toEqual(["ask", "ask"]);
  vi.advanceTimersByTime(10_000);
  expect(told).toEqual(["ask", "ask", "lost"]);
});

test("a clock that is set back does not keep an attempt that gets no connection", () => {
  canAsk = false;
  set(-HOUR_MS);
  vi.advanceTimersByTime(15_000);
  expect(told[0]).toBe("lost");
});

test("a network or a page that is back is told of, and a network that has gone is not", () => {
  for (const type of ["offline", "online", "visibilitychange"]) {
    told.push(type);
    page.dispatchEvent(new Event(type));
  }
  expect(told).toEqual(["offline", "online", "wake", "visibilitychange", "wake"]);
});
