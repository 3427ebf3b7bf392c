// The parts that need no connection, each by itself, with a clock of its own.
import { expect, test } from "vitest";
import {
  AdaptiveQualityManager,
  CircuitBreaker,
  ConnectionPool,
  EventSequencer,
  NetworkMonitor,
  RateLimiter,
  Recovery,
  createStore,
  reconnectDelay,
} from "../../src/wse/index.js";
import { RECONNECTION } from "../../src/wse/backoff.js";
import { seeded } from "./random.js";

function fakeClock() {
  const now = () => now.at;
  now.at = 1_000_000;
  return now;
}

test("a rate limiter gives its capacity at once and refills by whole intervals", () => {
  const now = fakeClock();
  const limiter = new RateLimiter(10, 4, 1_000, now);
  expect(Array.from({ length: 12 }, () => limiter.canSend()).filter(Boolean)).toHaveLength(10);
  expect(limiter.getRetryAfter()).toBe(1);
  now.at += 999;
  expect(limiter.canSend()).toBe(false);
  now.at += 1;
  expect(limiter.tryConsume(5)).toBe(false);
  expect(limiter.tryConsume(4)).toBe(true);
  now.at += 60_000;
  expect(limiter.getAvailableTokens()).toBe(10);
  // A clock that is set back does not stop it.
  limiter.tryConsume(10);
  now.at -= 3_600_000;
  expect(limiter.canSend()).toBe(false);
  now.at += 1_000;
  expect(limiter.canSend()).toBe(true);
});

test("a rate limiter never gives more than capacity and refill allow", () => {
  const random = seeded(1);
  const now = fakeClock();
  const limiter = new RateLimiter(50, 7, 100, now);
  const began = now.at;
  let given = 0;
  for (let i = 0; i < 5_000; i++) {
    now.at += Math.floor(random() * 30);
    if (limiter.canSend()) given++;
    expect(given).toBeLessThanOrEqual(50 + 7 * Math.floor((now.at - began) / 100));
  }
});

test("a circuit breaker opens, waits, and closes after enough successes", async () => {
  const now = fakeClock();
  const breaker = new CircuitBreaker({ failureThreshold: 3, resetTimeout: 1_000, successThreshold: 2 }, now);
  const fails = () => breaker.execute(() => Promise.reject(new Error("no")));
  for (let i = 0; i < 3; i++) await expect(fails()).rejects.toThrow("no");
  await expect(fails()).rejects.toThrow("OPEN");
  now.at += 1_000;
  expect(breaker.canExecute()).toBe(true);
  expect(breaker.getState()).toBe("half-open");
  await expect(fails()).rejects.toThrow("no");
  expect(breaker.getState()).toBe("open");
  now.at += 1_000;
  for (let i = 0; i < 2; i++) await breaker.execute(() => Promise.resolve());
  expect(breaker.getInfo()).toMatchObject({ state: "closed", failures: 0, nextRetryTime: null });
});

test("a circuit breaker counts failures in a row", () => {
  const breaker = new CircuitBreaker({ failureThreshold: 2 });
  for (let i = 0; i < 5; i++) {
    breaker.recordFailure();
    breaker.recordSuccess();
  }
  expect(breaker.getState()).toBe("closed");
});

const ENDPOINTS = ["ws://a", "ws://b", "ws://c"];

test("a pool gives turns in order", () => {
  const pool = new ConnectionPool({ endpoints: ENDPOINTS, loadBalancingStrategy: "round-robin" });
  expect(Array.from({ length: 6 }, () => pool.getBestEndpoint())).toEqual([...ENDPOINTS, ...ENDPOINTS]);
});

test("a pool gives the endpoint with the fewest connections", () => {
  const pool = new ConnectionPool({ endpoints: ENDPOINTS, loadBalancingStrategy: "least-connections" });
  pool.addConnection("ws://a");
  pool.addConnection("ws://b");
  expect(pool.getBestEndpoint()).toBe("ws://c");
  pool.addConnection("ws://c");
  pool.removeConnection("ws://b");
  expect(pool.getBestEndpoint()).toBe("ws://b");
});

test("a pool chooses at random by health", () => {
  const random = seeded(2);
  const now = fakeClock();
  const pool = new ConnectionPool({ endpoints: ENDPOINTS, random, now });
  for (let i = 0; i < 3; i++) pool.recordFailure("ws://a");
  expect(pool.getHealthScores()).toEqual({ "ws://a": 40, "ws://b": 100, "ws://c": 100 });
  const counts: Record<string, number> = {};
  for (let i = 0; i < 12_000; i++) {
    const url = pool.getBestEndpoint() as string;
    counts[url] = (counts[url] ?? 0) + 1;
  }
  const share = (counts["ws://a"] as number) / (counts["ws://b"] as number);
  expect(share).toBeGreaterThan(0.3);
  expect(share).toBeLessThan(0.5);
});

test("a pool avoids what has just failed, keeps to what is preferred, and forgives with time", () => {
  const now = fakeClock();
  const pool = new ConnectionPool({ endpoints: ["ws://a", "ws://b"], loadBalancingStrategy: "round-robin", now });
  for (let i = 0; i < 20; i++) expect(pool.getBestEndpoint("ws://a")).toBe("ws://b");
  pool.setPreferredEndpoint("ws://a");
  expect(pool.getBestEndpoint()).toBe("ws://a");
  for (let i = 0; i < 5; i++) pool.recordFailure("ws://a");
  expect(pool.getBestEndpoint()).toBe("ws://b");
  expect(pool.getHealthScores()["ws://a"]).toBe(0);
  now.at += 60_000;
  expect(pool.getHealthScores()["ws://a"]).toBe(50);
  expect(pool.getBestEndpoint()).toBe("ws://a");
  expect(new ConnectionPool({ endpoints: ["ws://a"] }).getBestEndpoint("ws://a")).toBe("ws://a");
  expect(new ConnectionPool().getBestEndpoint()).toBeUndefined();
});

test("scores stay between 0 and 100 whatever happens", () => {
  const random = seeded(3);
  const now = fakeClock();
  const pool = new ConnectionPool({ endpoints: ENDPOINTS, random, now });
  for (let i = 0; i < 2_000; i++) {
    const url = pool.getBestEndpoint() as string;
    if (random() < 0.5) pool.recordFailure(url);
    else pool.recordSuccess(url, random() * 500);
    now.at += random() * 10_000;
    for (const score of Object.values(pool.getHealthScores())) {
      expect(score).toBeGreaterThanOrEqual(0);
      expect(score).toBeLessThanOrEqual(100);
    }
  }
});

test.each([
  [[], "unknown"],
  [[20, 22, 21], "excellent"],
  [[90, 91, 92], "good"],
  [[10, 45, 10, 45], "good"],
  [[200, 201], "fair"],
  [[400, 401], "poor"],
  [[10, 200, 10, 200], "poor"],
])("latencies %j are %s", (latencies, quality) => {
  const monitor = new NetworkMonitor();
  for (const latency of latencies) monitor.recordLatency(latency);
  expect(monitor.analyze().quality).toBe(quality);
});

test("a monitor counts pings without an answer, and holds its last samples alone", () => {
  const monitor = new NetworkMonitor(10);
  for (let i = 0; i < 9; i++) monitor.recordLatency(10);
  monitor.recordLoss();
  expect(monitor.analyze()).toMatchObject({ packetLoss: 10, quality: "poor" });
  for (let i = 0; i < 10; i++) monitor.recordLatency(20);
  monitor.recordLatency(Number.NaN);
  monitor.recordLatency(-1);
  expect(monitor.analyze()).toMatchObject({ packetLoss: 0, quality: "excellent", roundTripTime: 20 });
  expect(monitor.getLatencyStats()).toMatchObject({ min: 20, max: 20, p95: 20, jitter: 0 });
});

test("delays grow by the mode and never beyond the largest one", () => {
  const delays = (mode: "linear" | "exponential" | "fibonacci" | "adaptive") =>
    [0, 1, 2, 3, 50].map((failures) => reconnectDelay({ ...RECONNECTION, mode, jitter: false }, failures));
  expect(delays("exponential")).toEqual([1_000, 1_500, 2_250, 3_375, 30_000]);
  expect(delays("linear")).toEqual([1_000, 2_000, 3_000, 4_000, 30_000]);
  expect(delays("fibonacci")).toEqual([1_000, 1_000, 2_000, 3_000, 30_000]);
  expect(delays("adaptive")).toEqual(delays("exponential"));
  expect(reconnectDelay(RECONNECTION, 0, () => 0)).toBe(500);
  expect(reconnectDelay(RECONNECTION, 10_000)).toBeLessThanOrEqual(30_000);
});

test("a sequencer delivers each place once and in order, as a naive model does", () => {
  const random = seeded(4);
  const sequencer = new EventSequencer();
  const model = new Map<string, { epoch: string; offset: number }>();
  for (let i = 0; i < 20_000; i++) {
    const topic = `t${Math.floor(random() * 3)}`;
    const last = model.get(topic);
    const epoch = random() < 0.01 ? `e${Math.floor(random() * 3)}` : (last?.epoch ?? "e0");
    const offset = Math.max(0, (last?.offset ?? 0) + Math.floor(random() * 5) - 1);
    const same = last?.epoch === epoch;
    const expected = same && offset <= (last as { offset: number }).offset ? "duplicate" : same && offset > (last as { offset: number }).offset + 1 ? "gap" : "deliver";
    if (expected === "deliver") model.set(topic, { epoch, offset });
    expect(sequencer.checkTopicStamp(topic, epoch, offset)).toBe(expected);
    expect(sequencer.getTopicPosition(topic)).toEqual(model.get(topic));
  }
});

test("ids are remembered up to a number and an age", () => {
  const now = fakeClock();
  const sequencer = new EventSequencer(3, 1_000, 2, now);
  expect(["a", "b", "a"].map((id) => sequencer.isDuplicate(id))).toEqual([false, false, true]);
  for (const id of ["c", "d"]) sequencer.isDuplicate(id);
  expect(sequencer.isDuplicate("a")).toBe(false);
  now.at += 1_000;
  expect(sequencer.isDuplicate("d")).toBe(false);
  for (let i = 0; i < 1_000; i++) sequencer.isDuplicate(`x${i}`);
  expect(sequencer.getStats().duplicateWindowSize).toBeLessThanOrEqual(3);
  for (const topic of ["t1", "t2", "t3"]) sequencer.setTopicPosition(topic, "e", 1);
  expect(Object.keys(sequencer.getPositions())).toEqual(["t2", "t3"]);
});

function recovery(timeout?: number) {
  const asked: object[] = [];
  const gaps: object[] = [];
  const sequencer = new EventSequencer();
  const part = new Recovery(sequencer, { request: (positions) => asked.push(positions), onGap: (gap) => gaps.push(gap) }, timeout);
  part.available = true;
  return { part, asked, gaps, sequencer };
}

test("a hole is asked for once, and what jumps ahead waits for it", () => {
  const { part, asked, gaps } = recovery();
  expect([1, 2, 5, 6].map((offset) => part.accept("t", "e", offset))).toEqual([true, true, false, false]);
  expect(asked).toEqual([{ t: { epoch: "e", offset: 2 } }]);
  expect([3, 4, 5, 6].map((offset) => part.accept("t", "e", offset))).toEqual([true, true, true, true]);
  part.answered("t", { epoch: "e", offset: 6, recovered: true });
  expect(part.accept("t", "e", 7)).toBe(true);
  expect(gaps).toEqual([]);
  part.stop();
});

test("what cannot be recovered is told once, by the server if it does", async () => {
  const { part, gaps } = recovery();
  part.accept("t", "e", 1);
  part.answered("t", { epoch: "e", offset: 9, recovered: false });
  part.told({ topic: "t", lost: 8 });
  part.accept("u", "e", 1);
  part.answered("u", { epoch: "f", offset: 3, recovered: false });
  await expect.poll(() => gaps).toEqual([{ topic: "t", lost: 8 }, { topic: "u", lost: null }]);
  expect(part.accept("u", "f", 4)).toBe(true);
  part.stop();
});

test("a server that does not answer does not stop a topic", async () => {
  const { part, gaps } = recovery(20);
  part.accept("t", "e", 1);
  expect(part.accept("t", "e", 3)).toBe(false);
  await expect.poll(() => gaps).toEqual([{ topic: "t", lost: null }]);
  expect(part.accept("t", "e", 9)).toBe(true);
  part.stop();
});

test("an answer that comes before what it has recovered skips nothing of it", async () => {
  const { part, gaps, asked } = recovery(20);
  part.accept("t", "e", 1);
  part.expect(["t"]);
  part.answered("t", { epoch: "e", offset: 4, recovered: true });
  expect([6, 2, 3, 4].map((offset) => part.accept("t", "e", offset))).toEqual([false, true, true, true]);
  expect(asked).toEqual([{ t: { epoch: "e", offset: 4 } }]);
  expect([5, 6].map((offset) => part.accept("t", "e", offset))).toEqual([true, true]);
  part.answered("t", { epoch: "e", offset: 6, recovered: true });
  expect(gaps).toEqual([]);
  // It never comes.
  part.answered("t", { epoch: "e", offset: 9, recovered: true });
  await expect.poll(() => gaps).toEqual([{ topic: "t", lost: 3 }]);
  expect(part.accept("t", "e", 10)).toBe(true);
  part.stop();
});

test("what came ahead of an answer that has not got it is asked for once more", () => {
  const { part, asked, gaps } = recovery();
  for (const offset of [1, 4, 5]) part.accept("t", "e", offset);
  for (const offset of [2, 3]) part.accept("t", "e", offset);
  part.answered("t", { epoch: "e", offset: 3, recovered: true });
  expect(asked).toEqual([{ t: { epoch: "e", offset: 1 } }, { t: { epoch: "e", offset: 3 } }]);
  expect([4, 5].map((offset) => part.accept("t", "e", offset))).toEqual([true, true]);
  part.answered("t", { epoch: "e", offset: 5, recovered: true });
  expect(gaps).toEqual([]);
  part.stop();
});

test("without recovery a hole is told and passed over", () => {
  const { part, gaps, asked } = recovery();
  part.available = false;
  expect([1, 4].map((offset) => part.accept("t", "e", offset))).toEqual([true, true]);
  expect(gaps).toEqual([{ topic: "t", lost: 2 }]);
  expect(asked).toEqual([]);
});

test("queries follow the quality, and other defaults stay", () => {
  let options: any = { queries: { gcTime: 7, staleTime: 1 }, mutations: { retry: 2 } };
  let invalidated = 0;
  const told: string[] = [];
  const client = {
    getDefaultOptions: () => options,
    setDefaultOptions: (next: any) => void (options = next),
    invalidateQueries: () => void invalidated++,
  };
  const manager = new AdaptiveQualityManager(client, (quality) => told.push(quality));
  for (const quality of ["good", "good", "poor", "excellent"] as const) manager.updateQuality(quality);
  expect(told).toEqual(["good", "poor", "excellent"]);
  expect(invalidated).toBe(1);
  expect(options).toEqual({
    queries: { gcTime: 7, staleTime: Infinity, refetchInterval: false, refetchOnWindowFocus: false },
    mutations: { retry: 2 },
  });
  manager.destroy();
  expect(options).toEqual({ queries: { gcTime: 7, staleTime: 1 }, mutations: { retry: 2 } });
});

test("a store tells changes, and nothing where nothing changes", () => {
  const store = createStore({ a: 1, b: 1 });
  const seen: number[] = [];
  const end = store.subscribe((state) => state.a, (a) => seen.push(a));
  let all = 0;
  store.subscribe(() => all++);
  store.setState({ a: 2 });
  store.setState({ b: 2 });
  store.setState(({ b }) => ({ b }));
  end();
  store.setState({ a: 3 });
  expect(seen).toEqual([2]);
  expect(all).toBe(3);
  expect(store.getInitialState()).toEqual({ a: 1, b: 1 });
});
