import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, expect, test, vi } from "vitest";
import { AGENTS_MAX, AgentsStore } from "../src/model/agents";
import { BELIEFS_MAX, BeliefsStore, CERTAINTIES_MAX, factorsOf } from "../src/model/beliefs";
import { EventsStore, SECONDS } from "../src/model/events";
import { CHARACTERS_MAX, type Line, LINES_MAX, Lines, exportOf } from "../src/model/lines";
import { MetricsStore, SAMPLES_MAX } from "../src/model/metrics";
import { adviceOn, isName } from "../src/model/refusal";
import { Seconds } from "../src/model/seconds";
import type { FrameStore } from "../src/model/frame-store";
import { axisEnd, shapeOf, timed } from "../src/ui/sparkline";
import { duration, time } from "../src/ui/format";

afterEach(() => void vi.useRealTimers());

const event = (topic: string, data: unknown) => ({ type: "event" as const, topic, name: topic, data, position: "1-1" });

/** What a store shows after what `act` does, all of which is told at once. */
async function after<Snapshot>(store: FrameStore<Snapshot>, act: () => void): Promise<Snapshot> {
  let told = 0;
  const shown = new Promise<Snapshot>((done) => {
    store.subscribe(() => {
      told += 1;
      done(store.get());
    });
  });
  act();
  const snapshot = await shown;
  expect(told).toBe(1);
  return snapshot;
}

const reading = (messages_in: number, uptime_seconds: number, more: object = {}) => ({
  connections: 3, subscriptions: 4, messages_in, messages_out: 2 * messages_in, uptime_seconds, ...more,
});
const at = (seconds: number) => new Date(1_700_000_000_000 + 1000 * seconds).toISOString();

test("metrics: rates are differences by the gateway's clock, and a restart begins anew", async () => {
  const store = new MetricsStore();
  const { samples } = await after(store, () => {
    store.take(reading(100, 10), at(0));
    store.take(reading(150, 15), at(5));
    store.take(reading(150, 15), at(5));
    store.take(reading(20, 1), at(10));
    store.take(reading(30, 6), at(15));
    // Up for longer, and yet another one.
    store.take(reading(900, 14), at(18));
    store.take(reading(NaN, 6), at(20));
    store.take({ connections: "3" }, at(20));
  });
  expect(samples.map(({ rateIn, rateOut }) => [rateIn, rateOut])).toEqual([
    [undefined, undefined], [10, 20], [undefined, undefined], [2, 4], [undefined, undefined],
  ]);
  // Nor does a line go through a restart.
  const axis = { begin: Date.parse(at(0)), end: Date.parse(at(20)) };
  expect(shapeOf(timed(samples, ({ uptime }) => uptime, axis), 0, 20).line).toBe("M0 50L25 25M50 95L75 70M90 30");
});

test("metrics: no more readings are kept than the limit", async () => {
  const store = new MetricsStore();
  const { samples } = await after(store, () => {
    for (let i = 0; i <= SAMPLES_MAX + 5; i++) store.take(reading(i, i), at(5 * i));
  });
  expect(samples.length).toBe(SAMPLES_MAX);
  expect(samples.at(-1)!.messagesIn).toBe(SAMPLES_MAX + 5);
});

test("metrics: nothing is known of an outage, and a reading of before it is not one of now", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
  const store = new MetricsStore();
  const shown = (act: () => void) => after(store, act);
  const later = (seconds: number, isOpen: boolean) => shown(() => {
    vi.setSystemTime(Date.now() + 1000 * seconds);
    store.pass(isOpen);
  });
  const before = await shown(() => {
    store.pass(true);
    store.take(reading(100, 10), at(0));
    store.take(reading(150, 15), at(5));
  });
  expect(before).toMatchObject({ isCurrent: true, end: Date.parse(at(5)) });
  // Lost, back without a reading yet, silent for longer than a reading takes, and gone for longer than the plot shows.
  expect(await later(2, false)).toMatchObject({ isCurrent: false, age: 2000, end: Date.parse(at(7)) });
  expect(await later(1, true)).toMatchObject({ isCurrent: true, end: Date.parse(at(5)) });
  expect(await later(37, true)).toMatchObject({ isCurrent: false, age: 40_000, end: Date.parse(at(45)) });
  expect(await later(700, false)).toMatchObject({ samples: [], last: { messagesIn: 150 }, end: Date.parse(at(745)) });

  const back = await shown(() => {
    store.pass(true);
    store.take(reading(200, 50), at(40));
    store.take(reading(250, 55), at(45));
  });
  expect(back).toMatchObject({ isCurrent: true, end: Date.parse(at(45)) });
  expect(back.samples.map(({ rateIn }) => rateIn)).toEqual([undefined, 10, undefined, 10]);
  const axis = { begin: Date.parse(at(5)), end: back.end };
  expect(timed(back.samples, ({ connections }) => connections, axis).slice(2)).toEqual([[0, 3], [0.875, undefined], [0.875, 3], [1, 3]]);
  const { samples } = await shown(() => store.take(reading(300, 650), at(640)));
  expect(samples.map(({ messagesIn }) => messagesIn)).toEqual([200, 250, 300]);
});

test("metrics: a gateway whose clock was set back is read on, and one answer that is late is not", async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
  const store = new MetricsStore();
  const { samples, isCurrent } = await after(store, () => {
    store.pass(true);
    store.take(reading(100, 310), at(310));
    store.take(reading(90, 305), at(305));
    store.take(reading(150, 315), at(15));
    store.take(reading(200, 320), at(20));
  });
  expect(samples.map(({ messagesIn, rateIn }) => [messagesIn, rateIn])).toEqual([[150, undefined], [200, 10]]);
  expect(isCurrent).toBe(true);
});

test("agents: an agent is what the events have said of it", async () => {
  const store = new AgentsStore();
  const { agents, events, unnamed } = await after(store, () => {
    store.take(event("agent.created", { agent: { id: "a10", name: "Scout", type: "explorer" } }));
    store.take(event("agent.update", { agent_id: "a2", status: "idle" }));
    store.take(event("agent.update", { agent_id: "a10", status: "active" }));
    store.take(event("agent.update", { id: 7 }));
    for (const data of [null, "text", [1], { agent_id: {} }]) store.take(event("agent.update", data));
  });
  expect(agents.map(({ id, name, kind, status, events }) => [id, name, kind, status, events])).toEqual([
    ["7", undefined, undefined, undefined, 1],
    ["a2", undefined, undefined, "idle", 1],
    ["a10", "Scout", "explorer", "active", 2],
  ]);
  expect([events, unnamed]).toEqual([8, 4]);
});

test("agents: beyond the limit, the one that was silent longest is forgotten", async () => {
  const store = new AgentsStore();
  const { agents } = await after(store, () => {
    for (let i = 0; i < AGENTS_MAX; i++) store.take(event("agent.update", { agent_id: `a${i}` }));
    store.take(event("agent.update", { agent_id: "a0" }));
    store.take(event("agent.update", { agent_id: "new" }));
  });
  expect(agents.length).toBe(AGENTS_MAX);
  expect(agents.some(({ id }) => id === "a0")).toBe(true);
  expect(agents.some(({ id }) => id === "a1")).toBe(false);
});

test("beliefs: every shape that a distribution may have is read", () => {
  const ab = [["a", 0.7], ["b", 0.3]];
  const check = (data: unknown, expected: unknown) => expect(factorsOf(data)).toEqual(expected);
  check({ agent_id: "x", beliefs: { a: 0.7, b: 0.3 } }, [[undefined, ab]]);
  check({ a: 0.7, b: 0.3 }, [[undefined, ab]]);
  check([0.7, 0.3], [[undefined, [["0", 0.7], ["1", 0.3]]]]);
  check({ posterior: [0.7, 0.3], labels: ["a", "b"], factor: "door" }, [["door", ab]]);
  check({ distribution: [{ state: "a", probability: 0.7 }, { label: "b", p: 0.3 }] }, [[undefined, ab]]);
  check({ beliefs: [[0.7, 0.3], [1]] }, [["factor 1", [["0", 0.7], ["1", 0.3]]], ["factor 2", [["0", 1]]]]);
  check({ beliefs: { door: { a: 0.7, b: 0.3 } } }, [["door", ab]]);
  check({ beliefs: [0.7, 0.3], labels: [false, true] }, [[undefined, [["false", 0.7], ["true", 0.3]]]]);
  for (const nothing of [null, "text", 1, {}, [], { beliefs: ["a"] }, { state: "open" }, { beliefs: [null] }]) check(nothing, []);
});

test("beliefs: names of whatever kind and length are read, and cut", () => {
  const long = "n".repeat(200);
  const cut = "n".repeat(128);
  expect(factorsOf({ beliefs: [0.7, 0.2, 0.1], labels: [{ toString: 1, valueOf: 1 }, null, long] })).toEqual([[undefined, [["0", 0.7], ["1", 0.2], [cut, 0.1]]]]);
  expect(factorsOf({ beliefs: { [long]: 0.7, b: 0.3 } })).toEqual([[undefined, [[cut, 0.7], ["b", 0.3]]]]);
  expect(factorsOf({ beliefs: { [long]: { [long]: 1 } } })).toEqual([[cut, [[cut, 1]]]]);
});

test("beliefs: certainty is 0 where all is as likely and 1 where one state is certain", async () => {
  const store = new BeliefsStore();
  const { beliefs, unread } = await after(store, () => {
    for (const p of [0.5, 1]) store.take(event("belief.state", { agent_id: "x", beliefs: { a: 1 - p, b: p } }));
    store.take(event("belief.state", { agent_id: "y", beliefs: { a: 3, b: 4 } }));
    store.take(event("belief.state", "nothing"));
  });
  expect(beliefs.map(({ agent, states, isDistribution, certainties }) => [agent, states[0], isDistribution, certainties])).toEqual([
    ["x", ["b", 1], true, [0, 1]],
    ["y", ["b", 4], false, []],
  ]);
  expect(unread).toBe(1);
});

test("beliefs: no more are kept than the limits", async () => {
  const store = new BeliefsStore();
  const { beliefs } = await after(store, () => {
    for (let i = 0; i < BELIEFS_MAX + 3; i++) store.take(event("belief.state", { agent_id: i, beliefs: [0.5, 0.5] }));
    for (let i = 0; i < CERTAINTIES_MAX + 3; i++) store.take(event("belief.state", { agent_id: 9, beliefs: [0.5, 0.5] }));
  });
  expect(beliefs.length).toBe(BELIEFS_MAX);
  expect(beliefs.find(({ agent }) => agent === "9")!.certainties.length).toBe(CERTAINTIES_MAX);
});

const add = (store: EventsStore, name: string, data: unknown = null) => store.add({ kind: "event", name, data });
const names = ({ lines }: { lines: readonly { name: string }[] }) => lines.map(({ name }) => name);

test("events: the newest are kept, and a rare one that the filter wants outlives the others", async () => {
  const store = new EventsStore();
  await after(store, () => {
    store.setFilter("RARE");
    add(store, "x", { note: "rare" });
    for (let i = 0; i < 5 * LINES_MAX; i++) add(store, "often");
  });
  expect(names(store.get())).toEqual(["x"]);
  const all = new EventsStore();
  const { lines, total } = await after(all, () => {
    for (let i = 0; i < 5 * LINES_MAX + 7; i++) add(all, `e${i}`);
  });
  expect(lines.length).toBe(LINES_MAX);
  expect(lines.at(-1)!.name).toBe(`e${5 * LINES_MAX + 6}`);
  expect(total).toBe(5 * LINES_MAX + 7);
});

test("events: large ones are kept up to a number of characters", async () => {
  const store = new EventsStore();
  const large = "x".repeat(CHARACTERS_MAX / 10 - 10);
  const { lines } = await after(store, () => {
    for (let i = 0; i < 25; i++) add(store, `e${i}`, large);
    add(store, "larger", large.repeat(10));
    add(store, "last", 1);
  });
  expect(lines.map(({ name }) => name)).toEqual(["larger", "last"]);
  store.clear();
  for (let i = 0; i < 25; i++) add(store, `e${i}`, large);
  await new Promise((done) => setTimeout(done));
  expect(names(store.get())).toEqual(Array.from({ length: 10 }, (_, i) => `e${i + 15}`));
});

test("events: what is dropped leaves the memory at once", async () => {
  setFlagsFromString("--expose-gc");
  const collectGarbage = runInNewContext("gc") as () => void;
  const lines = new Lines();
  const text = "x".repeat(CHARACTERS_MAX / 10);
  const push = (id: number) => {
    const line: Line = { id, kind: "event", time: 0, name: "large", text };
    lines.push(line);
    return new WeakRef(line);
  };
  const pushed = Array.from({ length: 25 }, (_, i) => push(i));
  // What was made in a task lives until that has ended.
  await new Promise((done) => setTimeout(done));
  collectGarbage();
  expect(pushed.flatMap((line) => line.deref()?.id ?? [])).toEqual(Array.from({ length: 10 }, (_, i) => i + 15));
  expect(lines.all()).toHaveLength(10);
});

test("events: a pause holds what is seen and counts what matches", async () => {
  const store = new EventsStore();
  const paused = await after(store, () => {
    add(store, "one");
    add(store, "two");
    store.setPaused(true);
    add(store, "three");
    add(store, "four");
  });
  expect([names(paused), paused.isPaused, paused.missed]).toEqual([["one", "two"], true, 2]);
  store.setFilter("o");
  add(store, "four");
  await new Promise((done) => setTimeout(done));
  expect([names(store.get()), store.get().missed]).toEqual([["one", "two"], 2]);
  store.setFilter("three");
  await new Promise((done) => setTimeout(done));
  expect([names(store.get()), store.get().missed]).toEqual([[], 1]);
  store.setFilter("");
  await new Promise((done) => setTimeout(done));
  expect([names(store.get()), store.get().missed]).toEqual([["one", "two"], 3]);
  store.setPaused(false);
  store.setFilter("four");
  await new Promise((done) => setTimeout(done));
  expect([names(store.get()), store.get().isPaused]).toEqual([["four", "four"], false]);
});

test("events: a filter that is typed in a pause counts what is new, and what is no longer kept where all matches", async () => {
  const store = new EventsStore();
  add(store, "old");
  store.setPaused(true);
  const missed = () => after(store, () => {}).then((snapshot) => snapshot.missed);
  for (let i = 0; i < 2 * LINES_MAX; i++) add(store, i % 2 ? "odd" : "even");
  expect(await missed()).toBe(2 * LINES_MAX);
  store.setFilter("odd");
  expect(await missed()).toBe(LINES_MAX / 2);
  add(store, "odd");
  // The same to the filter.
  store.setFilter(" ODD ");
  expect(await missed()).toBe(LINES_MAX / 2 + 1);
  store.setFilter("");
  expect(await missed()).toBe(2 * LINES_MAX + 1);
  store.clear();
  expect(await missed()).toBe(0);
  add(store, "odd");
  store.setFilter("odd");
  expect(await missed()).toBe(1);
});

test("seconds: they are those of the clock, however seldom the page's timers run", () => {
  vi.useFakeTimers({ toFake: ["Date"], now: 1_700_000_000_000 });
  const seconds = new Seconds();
  const after = (ms: number) => {
    vi.setSystemTime(Date.now() + ms);
    return seconds.pass();
  };
  const seen = (ended: number) => ({ ended, isSeen: true });
  expect([999, 1, 1500, 499, 1, 5100, 899, 1].map(after)).toEqual([0, 1, 1, 0, 1, 5, 0, 1].map(seen));
  // A sleep, of which the second that it began in is part; then whole ones.
  expect([400, 60_000, 999, 1].map(after)).toEqual([seen(0), { ended: 60, isSeen: false }, seen(0), seen(1)]);
  expect([600, -3_600_000, 999, 1].map(after)).toEqual([seen(0), { ended: 1, isSeen: false }, seen(0), seen(1)]);
});

test("events: each second has its own, and one that was not seen has none", async () => {
  const store = new EventsStore();
  const { rates } = await after(store, () => {
    add(store, "one");
    store.end([true]);
    add(store, "two");
    add(store, "three");
    store.end([true, true, true]);
    add(store, "of a second that was not seen to its end");
    store.end([false, false]);
    store.end([true]);
  });
  expect(rates).toEqual([...new Array(SECONDS - 7).fill(undefined), 1, 2, 0, 0, undefined, undefined, 0]);
  await after(store, () => store.end(new Array(300).fill(true)));
  expect(store.get().rates).toEqual(new Array(SECONDS).fill(0));
});

test("events: an export is a line of JSON for each", async () => {
  const store = new EventsStore();
  const { lines } = await after(store, () => {
    store.add({ kind: "event", name: "news", data: { text: "a\nb" }, position: "1-2", publisher: "ann" });
    store.add({ kind: "gap", name: "news", data: { lost: 3 } });
  });
  const exported = exportOf(lines).split("\n").map((line) => JSON.parse(line));
  expect(exported).toEqual([
    { time: expect.any(String), kind: "event", event: "news", data: { text: "a\nb" }, position: "1-2", publisher: "ann" },
    { time: expect.any(String), kind: "gap", event: "news", data: { lost: 3 } },
  ]);
});

test("plots: a hole in the values is a hole in the line", () => {
  expect(shapeOf([[0, 0], [0.5, 10]], 0, 10)).toEqual({ line: "M0 100L50 0", area: "M0 100L50 0L50 100L0 100Z" });
  expect(shapeOf([[0, 5], [0.5, undefined], [1, 5]], 0, 10).line).toBe("M0 50M100 50");
  expect([0, 4, 4.1, 9, 10, 220, 3000, 99_999].map((value) => axisEnd(value))).toEqual([4, 4, 6, 10, 10, 300, 3000, 100_000]);
});

test("durations are said in two units", () => {
  expect([0, 59.9, 60, 61, 3600, 3660, 90_000, 864_000].map(duration)).toEqual([
    "0 s", "59 s", "1 min", "1 min 1 s", "1 h", "1 h 1 min", "1 d 1 h", "10 d",
  ]);
});

test("a time of another day has its day", () => {
  const [evening, morning] = [new Date(2026, 10, 29, 23, 59, 58).getTime(), new Date(2026, 10, 30, 0, 0, 3).getTime()];
  expect([time(evening, evening), time(morning, morning), time(evening, morning)]).toEqual(["23:59:58", "00:00:03", "Nov 29, 23:59:58"]);
});

test("a name is one that the gateway takes for a topic or a pattern", () => {
  for (const name of ["a", "agent.update:x_y-z9", "x".repeat(128), "*", "a.*", "a*", "a.b*", "a.*.c", "*:a", "..", "*.*"]) expect([name, isName(name)]).toEqual([name, true]);
  for (const name of ["", "news/sport", "é", "a b", "a%00", "x".repeat(129), "**", "a**", "*a", "a*.b", "a.*b", "a.*b*"]) expect([name, isName(name)]).toEqual([name, false]);
});

test("what helps against a refusal is said: the gateway's reason, another name, or a token where one is looked at", () => {
  const advice = (name: string, code: string, isDemo = false) => adviceOn(name, { code, message: "At most 10 subscriptions" }, isDemo);
  expect(advice("a", "SUBSCRIPTION_LIMIT")).toBe("At most 10 subscriptions.");
  expect(advice("a b", "SUBSCRIPTION_LIMIT")).toMatch(/^A topic's name has 1 to 128 letters/);
  for (const code of ["REJECTED", "FORBIDDEN"]) {
    expect(advice("a", code)).toBe("Take a token whose permissions cover it.");
    expect(advice("*", code)).toMatch(/^Name topics or prefixes instead, .*, or take a token/);
    expect([advice("a", code, true), advice("*", code, true)]).toEqual(["That takes a token, and demo mode looks at none.", "Name topics or prefixes instead, such as agent.*."]);
  }
  expect(adviceOn("a", undefined, false)).toBe("Take a token whose permissions cover it.");
});
