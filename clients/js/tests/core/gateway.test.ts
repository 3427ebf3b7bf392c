// Against a real gateway, through cuts, crashes, tokens that end and processes that sleep.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Gap, Subscription, TokenReason, TopicEvent } from "../../src/core/index.js";
import { client, state, until } from "../support/client.js";
import { Gateway, SECRET, token } from "../support/gateway.js";
import { Proxy } from "../support/proxy.js";

/** Seconds under fire; 30 is the long form. */
const FIRE_SECONDS = Number(process.env["FANFARE_FIRE"] ?? 3);
const IS_LONG = FIRE_SECONDS >= 30;

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function start(options: Parameters<typeof Gateway.start>[0] = {}): Promise<Gateway> {
  const gateway = await Gateway.start(options);
  cleanups.push(() => gateway.stop());
  return gateway;
}

async function proxy(gateway: Gateway): Promise<Proxy> {
  const made = await Proxy.start(gateway.port);
  cleanups.push(() => made.stop());
  return made;
}

/** What a subscription has got: numbers, in their order, and what gaps told. */
class Seen {
  readonly items: (Gap | TopicEvent<number>)[] = [];
  /** By topic, the last number; what was missing without a word, or came again. */
  readonly last = new Map<string, number>();
  faults: string[] = [];
  gaps = 0;

  constructor(sub: Subscription<number>) {
    let told = new Set<string>();
    sub.on("gap", ({ topic }) => {
      this.gaps += 1;
      told.add(topic);
    });
    sub.on("event", ({ topic, data }) => {
      const last = this.last.get(topic) ?? 0;
      const isTold = told.delete(topic) || told.has(sub.name);
      if (data !== last + 1 && !(isTold && data > last)) this.faults.push(`${topic}: ${data} after ${last}`);
      this.last.set(topic, data);
    });
  }
}

/** Publishes numbers to topics, `rate` a second of all, until it is stopped. Gives how many each topic has. */
function publisher(gateway: Gateway, topics: string[], rate: number) {
  let running = true;
  let count = 0;
  const done = (async () => {
    const began = Date.now();
    while (running) {
      const due = Math.floor(((Date.now() - began) / 1000) * (rate / topics.length));
      const events = [];
      while (count < due) {
        count += 1;
        for (const event of topics) events.push({ event, data: count });
      }
      if (events.length) {
        const body = JSON.stringify(events);
        const answer = await fetch(`${gateway.http}/api/v1/events/batch`, { method: "POST", body });
        if (answer.status !== 202) throw new Error(await answer.text());
      }
      await new Promise((done) => setTimeout(done, 20));
    }
    return count;
  })();
  return {
    async stop() {
      running = false;
      return done;
    },
  };
}

test(
  "under fire nothing is lost or doubled, by name and by pattern, over WebSocket and SSE",
  async () => {
    const gateway = await start({ settings: { HUB__HISTORY_SIZE: "100000", SSE__RETRY: "20ms" } });
    const cutter = await proxy(gateway);
    cutter.lifetime = () => 200 + Math.random() * 1600;
    const url = `ws://127.0.0.1:${cutter.port}/api/v1/ws/demo`;
    const connections = IS_LONG ? 200 : 40;
    const topics = Array.from({ length: 10 }, (_, n) => `fire.${n}`);
    const all: { seen: Seen; names: string[] }[] = [];
    const ready: Promise<void>[] = [];
    for (let n = 0; n < connections; n++) {
      const isSse = n % 10 === 9;
      const one = client(url, { transports: [isSse ? "sse" : "ws"], retryMax: 300 });
      const name = topics[n % topics.length]!;
      const isPattern = n % 20 === 4;
      const sub = one.subscribe<number>(isPattern ? "fire.*" : name);
      ready.push(sub.ready());
      all.push({ seen: new Seen(sub), names: isPattern ? topics : [name] });
    }
    await Promise.all(ready);
    const source = publisher(gateway, topics, IS_LONG ? 1000 : 500);
    await new Promise((done) => setTimeout(done, FIRE_SECONDS * 1000));
    const count = await source.stop();
    cutter.lifetime = undefined;
    cutter.cut();
    await until(() => all.every(({ seen, names }) => names.every((name) => seen.last.get(name) === count)));
    const [faults, gaps] = [all.flatMap(({ seen }) => seen.faults), all.reduce((sum, { seen }) => sum + seen.gaps, 0)];
    if (IS_LONG) console.log(`${count} events in each of ${topics.length} topics, ${cutter.cuts} cuts, ${gaps} gaps`);
    expect(faults).toEqual([]);
    expect(cutter.cuts).toBeGreaterThan(0);
    expect(gaps).toBe(0);
  },
  (FIRE_SECONDS + 60) * 1000,
);

test("under fire publications arrive in order, and each is acknowledged", async () => {
  const gateway = await start({ settings: { HUB__HISTORY_SIZE: "100000" } });
  const cutter = await proxy(gateway);
  cutter.lifetime = () => 20 + Math.random() * 200;
  const one = client(`ws://127.0.0.1:${cutter.port}/api/v1/ws/demo`);
  const other = client(`${gateway.url}/api/v1/ws/demo`);
  const got: number[] = [];
  const sub = other.subscribe<number>("out");
  sub.on("event", ({ data }) => got.push(data));
  await sub.ready();
  const offsets: Promise<number>[] = [];
  for (let n = 1; n <= 300; n++) {
    offsets.push(one.publish("out", n));
    if (n % 10 === 0) await new Promise((done) => setTimeout(done, 20));
  }
  const acknowledged = await Promise.all(offsets);
  await until(() => got.includes(300));
  expect(cutter.cuts).toBeGreaterThan(1);
  expect([...new Set(got)]).toEqual(Array.from({ length: 300 }, (_, n) => n + 1));
  expect(acknowledged).toEqual([...acknowledged].sort((a, b) => a - b));
});

test("a publication whose acknowledgement is lost is published once", async () => {
  const gateway = await start();
  const network = await proxy(gateway);
  for (const transport of ["ws", "sse"] as const) {
    const one = client(`ws://127.0.0.1:${network.port}/api/v1/ws/demo`, { transports: [transport] });
    await state(one, "open");
    network.losesAnswers = true;
    const offset = one.publish(transport, 1);
    // It has arrived there.
    const topic = async () => (await gateway.get(`/api/v1/topics/${transport}/history`)).offset;
    await until(async () => (await topic()) === 1);
    network.losesAnswers = false;
    network.cut();
    expect(await offset).toBe(1);
    expect(await one.publish(transport, 2)).toBe(2);
  }
});

test("after kill -9 there is one gap for each subscription, and then what is new", async () => {
  const gateway = await start();
  const url = `${gateway.url}/api/v1/ws/demo`;
  const subs = Array.from({ length: 10 }, (_, n) => {
    const one = client(url, { transports: [n % 5 === 4 ? "sse" : "ws"] });
    return one.subscribe<number>(n % 5 === 3 ? "crash.*" : "crash.1");
  });
  const items = subs.map((sub) => {
    const got: (string | number)[] = [];
    sub.on("event", ({ data }) => got.push(data));
    sub.on("gap", ({ lost }) => got.push(`gap ${lost}`));
    return got;
  });
  await Promise.all(subs.map((sub) => sub.ready()));
  for (const n of [1, 2, 3]) await gateway.publish("crash.1", n);
  await until(() => items.every((got) => got.length === 3));
  await gateway.stop("SIGKILL");
  await until(() => subs.every((sub) => sub.state === "pending"));
  await gateway.start();
  await Promise.all(subs.map((sub) => sub.ready()));
  for (const n of [4, 5]) await gateway.publish("crash.1", n);
  await until(() => items.every((got) => got.at(-1) === 5));
  for (const [n, got] of items.entries()) {
    // A pattern is told of itself and of its topic, each once.
    const gaps = got.slice(3, -2);
    expect([got.slice(0, 3), got.slice(-2)]).toEqual([[1, 2, 3], [4, 5]]);
    expect(gaps).toEqual(n % 5 === 3 ? gaps.slice(0, Math.max(1, Math.min(2, gaps.length))) : ["gap null"]);
  }
});

test("a position goes on in another client, and after the topic has begun anew it is a gap", async () => {
  const gateway = await start();
  const url = `${gateway.url}/api/v1/ws/demo`;
  const first = client(url);
  const saved: string[] = [];
  const loop = (async () => {
    for await (const item of first.subscribe<number>("news")) {
      if (item.type === "event") saved.push(item.position);
      if (saved.length === 2) break;
    }
  })();
  await state(first, "open");
  for (const n of [1, 2, 3, 4]) await first.publish("news", n);
  await loop;
  const second = client(url);
  const got: unknown[] = [];
  for await (const item of second.subscribe<number>("news", { since: saved[1] })) {
    if (got.push(item.data) === 2) break;
  }
  expect(got).toEqual([3, 4]);
  await gateway.stop();
  await gateway.start();
  const third = client(url);
  for await (const item of third.subscribe("news", { since: saved[1] })) {
    expect(item).toMatchObject({ type: "gap", topic: "news", lost: null });
    break;
  }
});

test("of several shards, one name that is refused refuses no other", async () => {
  const settings = { SERVER__SHARDS: "4", EVENTS__MAX_SUBSCRIPTIONS: "2" };
  const gateway = await start({ settings });
  const one = client(`${gateway.url}/api/v1/ws/demo`);
  const subs = ["a", "b", "c"].map((name) => one.subscribe(name));
  await subs[0]!.ready();
  await subs[1]!.ready();
  await expect(subs[2]!.ready()).rejects.toMatchObject({ code: "SUBSCRIPTION_LIMIT", details: { limit: 2 } });
});

test("the newest events come first where they are asked for", async () => {
  const gateway = await start();
  const one = client(`${gateway.url}/api/v1/ws/demo`);
  for (const n of [1, 2, 3, 4]) await one.publish("news", n);
  const got: unknown[] = [];
  const first = one.subscribe("news", { last: 2 });
  first.on("event", ({ data }) => got.push(data));
  await until(() => got.length === 2);
  expect(got).toEqual([3, 4]);
  // Also to one of a topic that flows already.
  const next: unknown[] = [];
  for await (const item of one.subscribe("news", { last: 3 })) if (next.push(item.data) === 3) break;
  expect(next).toEqual([2, 3, 4]);
  await one.publish("news", 5);
  await until(() => got.length === 3);
  expect(got).toEqual([3, 4, 5]);
});

describe("tokens", () => {
  const settings = { AUTH__JWT_SECRET: SECRET, AUTH__LEEWAY: "0s", EVENTS__PUBLISH: "everyone", HUB__HISTORY_SIZE: "1000" };
  const seconds = IS_LONG ? 5 : 3;
  const short = () => token("ann", { exp: Math.floor(Date.now() / 1000) + seconds });
  const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));
  let gateway: Gateway;
  beforeAll(async () => void (gateway = await Gateway.start({ mode: "prod", settings })));
  afterAll(() => gateway.stop());

  async function follow(source: (request: { reason: TokenReason }) => string | null | Promise<string | null>) {
    const reasons: TokenReason[] = [];
    const one = client(`${gateway.url}/api/v1/ws`, {
      token: (request: { reason: TokenReason }) => {
        reasons.push(request.reason);
        return source(request);
      },
    });
    const sub = one.subscribe<number>("news");
    const seen = new Seen(sub);
    return { one, sub, seen, reasons };
  }

  test(
    "a slow endpoint: tokens are renewed in time, and nothing is missed",
    async () => {
      const { one, sub, seen, reasons } = await follow(async () => {
        await pause(seconds * 400);
        return short();
      });
      await sub.ready();
      const other = client(`${gateway.url}/api/v1/ws`, { token: token("bob") });
      for (let n = 1; n <= seconds * 5; n++) {
        await other.publish("news", n);
        await pause(400);
      }
      await until(() => seen.last.get("news") === seconds * 5);
      expect(seen.faults).toEqual([]);
      expect(reasons.slice(0, 2)).toEqual(["first", "expired"]);
      expect(one.session).toMatchObject({ user: "ann", authenticated: true });
    },
    60_000,
  );

  test("an endpoint that fails twice costs a wait", async () => {
    let calls = 0;
    const { one, sub, reasons } = await follow(() => {
      if (++calls < 3) throw new Error("503");
      return token("ann");
    });
    const states: string[] = [];
    one.on("state", ({ state, error }) => states.push(error ? `${state} ${error.code}` : state));
    await sub.ready();
    expect(states.filter((state) => state === "waiting TOKEN")).toHaveLength(2);
    expect(reasons).toEqual(["first", "first", "first"]);
  });

  test("an endpoint that says no: the client gives up, and a login brings it back", async () => {
    const { one, sub } = await follow(({ reason }) => (reason === "first" ? "nonsense" : null));
    await expect(sub.ready()).rejects.toMatchObject({ code: "TOKEN", remedy: "token" });
    expect(one.state).toBe("ended");
    one.authenticate(token("ann"));
    await sub.ready();
    expect(one.session?.user).toBe("ann");
  });

  test("what the token may not read is rejected", async () => {
    const one = client(`${gateway.url}/api/v1/ws`, { token: token("ann", { fanfare: { subscribe: ["news"] } }) });
    const [good, bad, wide] = ["news", "secret", "*"].map((name) => one.subscribe(name));
    await good!.ready();
    await expect(bad!.ready()).rejects.toMatchObject({ code: "REJECTED" });
    await expect(wide!.ready()).rejects.toMatchObject({ remedy: "token" });
    await expect(one.query("history", { event: "secret" })).rejects.toMatchObject({ code: "FORBIDDEN", remedy: "token" });
  });

  test("the inbox comes, and goes on where it was", async () => {
    const one = client(`${gateway.url}/api/v1/ws`, { token: token("ann") });
    const inbox = one.inbox<number>();
    const got: number[] = [];
    inbox.on("event", ({ data }) => got.push(data));
    await inbox.ready();
    const service = { authorization: `Bearer ${token("app", { role: "service" })}` };
    const send = (data: number) =>
      fetch(`${gateway.http}/api/v1/events`, {
        method: "POST",
        headers: service,
        body: JSON.stringify({ event: "invoice", data, user_id: "ann" }),
      });
    await send(1);
    await until(() => got.length === 1);
    one.close();
    await send(2);
    one.reconnect();
    await send(3);
    await until(() => got.length === 3);
    expect(got).toEqual([1, 2, 3]);
  });
});

describe("processes that sleep", () => {
  test("a gateway that is stopped is noticed, and nothing is missed", async () => {
    const gateway = await start();
    const one = client(`${gateway.url}/api/v1/ws/demo`, { pingInterval: 100, pingTimeout: 1_000 });
    const sub = one.subscribe<number>("news");
    const seen = new Seen(sub);
    await sub.ready();
    await gateway.publish("news", 1);
    await until(() => seen.last.get("news") === 1);
    gateway.signal("SIGSTOP");
    await state(one, "waiting");
    gateway.signal("SIGCONT");
    await gateway.publish("news", 2);
    await until(() => seen.last.get("news") === 2);
    expect([seen.faults, seen.gaps]).toEqual([[], 0]);
  });

  test("a network that goes silent is noticed", async () => {
    const gateway = await start();
    const network = await proxy(gateway);
    const url = `ws://127.0.0.1:${network.port}/api/v1/ws/demo`;
    const clients = (["ws", "sse"] as const).map((transport) =>
      client(url, { transports: [transport], pingInterval: 100, pingTimeout: 1_000 }),
    );
    const subs = clients.map((one) => one.subscribe("news"));
    await Promise.all(subs.map((sub) => sub.ready()));
    network.isSilent = true;
    await Promise.all(clients.map((one) => state(one, "waiting")));
    network.isSilent = false;
    await Promise.all(subs.map((sub) => sub.ready()));
  });

  test("a client that was asleep goes on where it was", async () => {
    const settings = { WEBSOCKET__PING_INTERVAL: "1s", WEBSOCKET__PING_TIMEOUT: "1s" };
    const gateway = await start({ settings });
    const folder = mkdtempSync(join(fileURLToPath(new URL("../..", import.meta.url)), "node_modules/.sleeper-"));
    cleanups.push(() => rmSync(folder, { recursive: true }));
    const program = join(folder, "sleeper.mjs");
    const entry = fileURLToPath(new URL("../support/sleeper.ts", import.meta.url));
    await build({ entryPoints: [entry], bundle: true, format: "esm", platform: "node", packages: "external", outfile: program, target: "node20" });
    const child = spawn(process.execPath, [program, `${gateway.url}/api/v1/ws/demo`], { stdio: ["ignore", "pipe", "inherit"] });
    cleanups.push(() => child.kill("SIGKILL"));
    const lines: string[] = [];
    createInterface(child.stdout).on("line", (line) => lines.push(line));
    const data = () => lines.filter((line) => !line.startsWith("#"));
    await until(() => lines.some((line) => line.startsWith("# open")));
    const connections = async () => (await gateway.get("/api/v1/ws/connections")).total_connections;
    await until(async () => (await connections()) === 1);
    await gateway.publish("news", 1);
    await until(() => data().length === 1);
    child.kill("SIGSTOP");
    for (const n of [2, 3]) await gateway.publish("news", n);
    await until(async () => (await connections()) === 0);
    for (const n of [4, 5]) await gateway.publish("news", n);
    child.kill("SIGCONT");
    await until(() => data().length >= 5);
    expect(data()).toEqual(["1", "2", "3", "4", "5"]);
    const ended = once(child, "exit");
    child.kill();
    await ended;
  });
});

describe("SSE", () => {
  test("takes over where there is no WebSocket, and says what it cannot", async () => {
    const gateway = await start();
    const network = await proxy(gateway);
    network.refusesWebSocket = true;
    const one = client(`ws://127.0.0.1:${network.port}/api/v1/ws/demo`, { transports: ["ws", "sse"] });
    const [news, pattern] = [one.subscribe("news"), one.subscribe("a.*")];
    const room = one.subscribe("room.1", { last: 1 });
    await news.ready();
    await expect(pattern.ready()).rejects.toMatchObject({ code: "REJECTED" });
    expect(await one.publish("news", { n: 1 })).toBe(1);
    expect(await one.publish("news", { n: 1 }, { key: "once" })).toBe(2);
    expect(await one.publish("news", { n: 1 }, { key: "once" })).toBe(2);
    await expect(one.query("server_info")).rejects.toMatchObject({ code: "UNSUPPORTED" });
    const got: unknown[] = [];
    for await (const item of news) if (got.push(item.data) === 2) break;
    expect(got).toEqual([{ n: 1 }, { n: 1 }]);
    // A `type` of its own: the topic is known all the same.
    const body = JSON.stringify({ topic: "room.1", type: "joined", payload: "a\nb" });
    await room.ready();
    await fetch(`${gateway.http}/api/v1/publish`, { method: "POST", body });
    for await (const item of room) {
      expect(item).toMatchObject({ topic: "room.1", name: "joined", data: "a\nb" });
      break;
    }
  });

  test("a place of one transport is a gap on the other", async () => {
    const gateway = await start();
    const url = `${gateway.url}/api/v1/ws/demo`;
    const first = client(url);
    const place = first.subscribe("news");
    await place.ready();
    const second = client(url, { transports: ["sse"] });
    for await (const item of second.subscribe("news", { since: place.position })) {
      expect(item.type).toBe("gap");
      break;
    }
  });

  test("a token that is refused, and one that may not read", async () => {
    const gateway = await start({ mode: "prod", settings: { AUTH__JWT_SECRET: SECRET } });
    const reasons: string[] = [];
    const one = client(`${gateway.url}/api/v1/ws`, {
      transports: ["sse"],
      token: ({ reason }: { reason: string }) => {
        reasons.push(reason);
        return reason === "first" ? "nonsense" : token("ann", { fanfare: { subscribe: ["news"] } });
      },
    });
    const [news, secret] = [one.subscribe("news"), one.subscribe("secret")];
    await news.ready();
    expect(reasons).toEqual(["first", "refused"]);
    await expect(secret.ready()).rejects.toMatchObject({ code: "REJECTED" });
  });
});

test("presence is told, and asked for", async () => {
  const gateway = await start({ settings: { "EVENTS__AUTH_REQUIRED": "false" }, config: '[namespace."room."]\npresence = true\n' });
  const [ann, bob] = ["ann", "bob"].map((name) => client(`${gateway.url}/api/v1/ws/${name}`));
  const sub = ann!.subscribe("room.1");
  const changes: unknown[] = [];
  sub.on("presence", (change) => changes.push(change));
  await sub.ready();
  await bob!.subscribe("room.1").ready();
  await until(() => changes.length === 2);
  expect(changes).toMatchObject([
    { action: "join", user: "ann", users: 1, seq: 1 },
    { action: "join", user: "bob", users: 2, seq: 2 },
  ]);
  const here = await ann!.query("presence", { event: "room.1" });
  expect(here.users.map(({ user }: { user: string }) => user)).toEqual(["ann", "bob"]);
});
