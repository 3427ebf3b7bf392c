// A client against a real gateway.
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from "vitest";
import { createMessageSigner, type WSEClientConfig } from "../../src/wse/index.js";
import { Gateway, type GatewayOptions, SECRET, token } from "../support/gateway.js";
import { Watched } from "./support.js";

/** Seconds under fire; 30 is the long form. */
const FIRE_SECONDS = Number(process.env["FANFARE_FIRE"] ?? 3);
const IS_LONG = FIRE_SECONDS >= 30;

let gateway: Gateway;
let watched: Watched[] = [];
beforeAll(async () => {
  gateway = await Gateway.start({ mode: "dev", settings: { AUTH__JWT_SECRET: SECRET, WSE__SIGNING_KEY: "a key of both sides, of 32 bytes or more", HUB__HISTORY_SIZE: "20000" } });
});
afterAll(() => gateway.stop());
afterEach(async () => {
  for (const { client } of watched) client.stop();
  watched = [];
});

/** A gateway of a test's own. */
async function startOwn(options: GatewayOptions = {}): Promise<Gateway> {
  const own = await Gateway.start(options);
  onTestFinished(() => own.stop());
  return own;
}

function client(config: WSEClientConfig = {}, user = "ann"): Watched {
  const one = new Watched(`${gateway.url}/wse`, config, token(user));
  watched.push(one);
  return one;
}

const connected = (one: Watched) => expect.poll(() => one.client.connection.isReady()).toBe(true);
const subscribed = (one: Watched, topic: string) =>
  expect.poll(() => one.told("subscriptionUpdate").some(({ success_topics }) => success_topics.includes(topic))).toBe(true);
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

test("connects, subscribes, publishes and receives", async () => {
  const one = client().watch("tick").start("a.prices", "a.*");
  await subscribed(one, "a.prices");
  one.client.send("publish", { topic: "a.prices", type: "tick", data: { n: 1 }, ack: true });
  await expect.poll(() => one.numbers()).toEqual([1]);
  await expect.poll(() => one.told("publishAck")).toHaveLength(1);
  expect(one.told("tick")).toEqual([{ n: 1 }]);
  expect(one.told("a.prices")).toMatchObject([{ type: "tick", payload: { n: 1 } }]);
  await expect.poll(() => one.told("snapshotComplete")).toHaveLength(1);
  await expect.poll(() => one.client.store.getState().metrics.lastLatency).not.toBeNull();
  one.client.unsubscribe(["a.prices", "a.*"]);
  await expect.poll(() => one.told("subscriptionUpdate").at(-1)?.topics).toEqual([]);
});

test("a token that is not good is refused once, and a good one connects", async () => {
  const one = new Watched(`${gateway.url}/wse`, {}, "not.a.token");
  watched.push(one);
  one.start();
  await expect.poll(() => one.client.store.getState().connectionState).toBe("error");
  expect(one.told("wseAuthFailed")).toHaveLength(1);
  one.client.setToken(token("ann"));
  await connected(one);
});

test("tokens that end are renewed, by an endpoint that is slow and fails, and nothing is lost", async () => {
  const own = await startOwn({ mode: "dev", settings: { AUTH__JWT_SECRET: SECRET, AUTH__LEEWAY: "0s", HUB__HISTORY_SIZE: "1000" } });
  const short = () => token("ann", { exp: Math.floor(Date.now() / 1_000) + 2 });
  let calls = 0;
  const refreshAuthToken = async () => {
    await new Promise((done) => setTimeout(done, 200));
    if (++calls % 2 === 1) throw new Error("503");
    return short();
  };
  const one = new Watched(`${own.url}/wse`, { refreshAuthToken }, short()).watch("tick");
  const other = new Watched(`${own.url}/wse`, {}, token("bob"));
  watched.push(one, other);
  one.start("ends.a");
  other.start();
  await subscribed(one, "ends.a");
  await connected(other);
  let n = 0;
  while (one.client.store.getState().metrics.reconnectCount < 2) {
    other.client.send("publish", { topic: "ends.a", type: "tick", data: { n: ++n } });
    await new Promise((done) => setTimeout(done, 50));
  }
  await expect.poll(() => one.numbers()).toEqual(numbers(1, n));
  expect(one.told("wseAuthFailed").length).toBeGreaterThanOrEqual(2);
  expect(one.told("wseGap")).toEqual([]);
  for (const { client } of [one, other]) client.stop();
});

test("cuts lose nothing and double nothing", async () => {
  const one = client().watch("tick").start("cuts.a");
  const other = client({}, "bob").start();
  await subscribed(one, "cuts.a");
  await connected(other);
  let n = 0;
  for (let cut = 0; cut < 10; cut++) {
    for (let i = 0; i < 50; i++) other.client.send("publish", { topic: "cuts.a", type: "tick", data: { n: ++n } });
    // As a network does it: without a word.
    socketOf(one).terminate();
    await expect.poll(() => one.client.store.getState().metrics.reconnectCount, { interval: 5 }).toBe(cut + 1);
  }
  await expect.poll(() => one.numbers().length).toBe(n);
  expect(one.numbers()).toEqual(numbers(1, n));
  expect(one.told("wseGap")).toEqual([]);
});

test(
  "under fire nothing is lost or doubled, by name and by glob, in clear, compressed and encrypted",
  async () => {
    const own = await startOwn({ settings: { HUB__HISTORY_SIZE: "100000" } });
    const topics = Array.from({ length: 10 }, (_, n) => `fire.${n}`);
    const faults: string[] = [];
    const readers = Array.from({ length: IS_LONG ? 200 : 40 }, (_, n) => {
      const isGlob = n % 40 === 4;
      const special: WSEClientConfig = n % 10 === 7 ? { security: { encryptionEnabled: true } } : n % 10 === 8 ? { format: "msgpack" } : {};
      const one = new Watched(`${own.url}/wse`, { ...special, WebSocket: withoutDeflate() as never });
      // Not each message twice: what is told of gaps is enough.
      one.keeps = (name) => name === "wseGap" || name === "subscriptionUpdate";
      watched.push(one);
      const names = isGlob ? topics : [topics[n % topics.length] as string];
      const last = new Map<string, number>();
      for (const name of names) {
        one.client.on(name, ({ p }) => {
          const before = last.get(name);
          // A glob has no place before its first message.
          if (p.data !== (before ?? (isGlob ? p.data - 1 : 0)) + 1) faults.push(`${n} ${name}: ${p.data} after ${before}`);
          last.set(name, p.data);
        });
      }
      one.start(isGlob ? "fire.*" : (names[0] as string));
      return { one, names, last };
    });
    for (const { one } of readers) await expect.poll(() => one.told("subscriptionUpdate").length).toBeGreaterThan(0);
    const began = Date.now();
    let [count, cuts] = [0, 0];
    for (let due = 0; Date.now() - began < FIRE_SECONDS * 1_000; due = Math.floor(((Date.now() - began) / 1_000) * (IS_LONG ? 100 : 50))) {
      const events: object[] = [];
      for (; count < due; count++) for (const event of topics) events.push({ event, data: count + 1 });
      if (events.length > 0) {
        const { status } = await fetch(`${own.http}/api/v1/events/batch`, { method: "POST", body: JSON.stringify(events) });
        expect(status).toBe(202);
      }
      // Each about once a second.
      for (const { one } of readers) {
        if (Math.random() < 0.02 && one.client.connection.isReady()) {
          socketOf(one).terminate();
          cuts++;
        }
      }
      await new Promise((done) => setTimeout(done, 20));
    }
    const behind = () => readers.filter(({ names, last }) => names.some((name) => last.get(name) !== count)).length;
    await expect.poll(behind, { timeout: 60_000 }).toBe(0);
    const gaps = readers.flatMap(({ one }) => one.told("wseGap"));
    if (IS_LONG) console.log(`${count} events in each of ${topics.length} topics, ${cuts} cuts, ${gaps.length} gaps`);
    expect(faults).toEqual([]);
    expect(gaps).toEqual([]);
    expect(cuts).toBeGreaterThan(0);
    for (const { one } of readers) one.client.stop();
  },
  (FIRE_SECONDS + 120) * 1_000,
);

test("a hole is recovered on the same connection, of a topic that is read by a glob, too", async () => {
  const one = client().watch("tick").start("hole.*");
  await subscribed(one, "hole.*");
  for (let n = 1; n <= 5; n++) one.client.send("publish", { topic: "hole.a", type: "tick", data: { n } });
  await expect.poll(() => one.numbers()).toHaveLength(5);
  const { epoch } = one.client.sequencer.getTopicPosition("hole.a")!;
  // As if 3 to 5 had been lost on the way.
  one.client.sequencer.setTopicPosition("hole.a", epoch, 2);
  one.messages.length = 0;
  one.client.send("publish", { topic: "hole.a", type: "tick", data: { n: 6 } });
  await expect.poll(() => one.numbers()).toEqual([3, 4, 5, 6]);
  one.client.send("publish", { topic: "hole.a", type: "tick", data: { n: 7 } });
  await expect.poll(() => one.numbers()).toEqual([3, 4, 5, 6, 7]);
  expect(one.told("wseGap")).toEqual([]);
});

test("a restart is a gap, told once, and the topic goes on", async () => {
  const own = await startOwn({ mode: "demo" });
  const one = new Watched(`${own.url}/wse`).watch("tick");
  watched.push(one);
  one.start("r.a");
  await subscribed(one, "r.a");
  one.client.send("publish", { topic: "r.a", type: "tick", data: { n: 1 } });
  await expect.poll(() => one.numbers()).toEqual([1]);
  await own.stop("SIGKILL");
  await expect.poll(() => one.client.store.getState().connectionState).toBe("reconnecting");
  one.client.send("publish", { topic: "r.a", type: "tick", data: { n: 2 } });
  await own.start();
  await expect.poll(() => one.numbers()).toEqual([1, 2]);
  await new Promise((done) => setTimeout(done, 1_200));
  expect(one.told("wseGap")).toEqual([{ topic: "r.a", lost: null }]);
});

test("a gateway that sleeps is given up, and found again when it wakes", async () => {
  const own = await startOwn();
  const one = new Watched(`${own.url}/wse`, { heartbeatInterval: 50, idleTimeout: 1_000, connectionTimeout: 3_000 }).watch("tick");
  watched.push(one);
  one.start("s.a");
  await subscribed(one, "s.a");
  own.signal("SIGSTOP");
  await expect.poll(() => one.client.store.getState().connectionState).toBe("reconnecting");
  one.client.send("publish", { topic: "s.a", type: "tick", data: { n: 1 } });
  own.signal("SIGCONT");
  await expect.poll(() => one.numbers()).toEqual([1]);
  one.client.stop();
});

test("the inbox is recovered, though nobody subscribed to it", async () => {
  const one = client({}, "cat").watch("message").start();
  await connected(one);
  const inbox = "user:cat:events";
  const headers = { authorization: `Bearer ${token("service", { role: "service" })}`, "content-type": "application/json" };
  const push = async (message: string) => {
    const body = JSON.stringify({ user_id: "cat", data: { message } });
    expect((await fetch(`${gateway.http}/sse/push`, { method: "POST", headers, body })).status).toBe(200);
  };
  const said = () => one.messages.map(({ p }) => p.message as string);
  await push("one");
  await expect.poll(said).toEqual(["one"]);
  one.client.disconnect();
  await push("two");
  one.client.reconnect();
  await expect.poll(said).toEqual(["one", "two"]);
  expect(one.client.sequencer.getTopicPosition(inbox)).toBeDefined();
});

test("what was missed of a glob comes with the reconnect, not with the next message", async () => {
  const one = client().watch("tick").start("quiet.?.*", "quiet.[x]*");
  const other = client({}, "bob").start();
  await subscribed(one, "quiet.?.*");
  await connected(other);
  const publish = (topic: string, n: number) => other.client.send("publish", { topic, type: "tick", data: { n } });
  publish("quiet.é.(a)", 1);
  publish("quiet.[x]y", 2);
  await expect.poll(() => one.numbers()).toEqual([1, 2]);
  one.client.disconnect();
  publish("quiet.é.(a)", 3);
  publish("quiet.[x]y", 4);
  await expect.poll(() => other.client.queue.size).toBe(0);
  one.client.reconnect();
  await expect.poll(() => one.numbers().sort()).toEqual([1, 2, 3, 4]);
  one.client.unsubscribe(["quiet.?.*", "quiet.[x]*"]);
  await expect.poll(() => one.told("subscriptionUpdate").at(-1)?.topics).toEqual([]);
});

test("encryption: all is sealed but pings, keys rotate, cuts recover", async () => {
  const one = client({ security: { encryptionEnabled: true, encryptionRequired: true } }).watch("tick").start("e.a");
  await subscribed(one, "e.a");
  expect(one.client.store.getState().security).toMatchObject({ encryptionEnabled: true, encryptionAlgorithm: "AES-GCM-256" });
  const publish = (n: number) => one.client.send("publish", { topic: "e.a", type: "tick", data: { n } }, { encrypted: true });
  publish(1);
  await expect.poll(() => one.numbers()).toEqual([1]);
  await one.client.rotateKey();
  await expect.poll(() => one.client.store.getState().security.lastKeyRotation).not.toBeNull();
  for (const n of [2, 3]) publish(n);
  await expect.poll(() => one.numbers()).toEqual([1, 2, 3]);
  socketOf(one).terminate();
  await expect.poll(() => one.client.store.getState().metrics.reconnectCount).toBe(1);
  publish(4);
  await expect.poll(() => one.numbers()).toEqual([1, 2, 3, 4]);
  expect(one.client.store.getState().metrics.protocolErrors).toBe(0);
});

test("MessagePack and compressed messages are read", async () => {
  for (const config of [{ format: "msgpack" }, { WebSocket: withoutDeflate() }] as WSEClientConfig[]) {
    const one = client(config).watch("big").start("f.a");
    await subscribed(one, "f.a");
    const text = "é".repeat(5_000);
    one.client.send("publish", { topic: "f.a", type: "big", data: { n: 1, text } });
    await expect.poll(() => one.messages.map(({ p }) => p)).toEqual([{ n: 1, text }]);
    one.client.stop();
  }
});

test("signatures are checked by the gateway", async () => {
  const key = "a key of both sides, of 32 bytes or more";
  const one = client({ security: { messageSignature: true, signingKey: key } }).watch("tick").start("s.a");
  await subscribed(one, "s.a");
  one.client.send("publish", { topic: "s.a", type: "tick", data: { n: 1.5, text: "é😀\u007f", small: 1e-7 } });
  await expect.poll(() => one.numbers()).toEqual([1.5]);
  const other = client({ security: { messageSignature: true, signingKey: "another key, of 32 bytes or more too" } }).start("s.a");
  await expect.poll(() => other.told("serverError").map(({ code }) => code)).toContain("INVALID_MESSAGE");
  expect(await (await createMessageSigner(key)).verify('{"t":"x"}')).toBe("unsigned");
});

test("requests are answered, and presence is told", async () => {
  const one = client().watch("config_response", "health_check_response").start();
  await connected(one);
  one.client.send("config_request");
  one.client.send("health_check");
  await expect.poll(() => one.messages.map(({ t }) => t).sort()).toEqual(["config_response", "health_check_response"]);
  one.client.setCompression(true);
  await expect.poll(() => one.told("configUpdateResponse")).toMatchObject([{ success: true }]);
});

test("a client that is stopped leaves no connection", async () => {
  const connections = async () => (await gateway.get("/wse/health")).connections as number;
  await expect.poll(connections).toBe(0);
  const one = client().start("x");
  await connected(one);
  expect(await connections()).toBe(1);
  one.client.stop();
  await expect.poll(connections).toBe(0);
});

function socketOf(one: Watched): { terminate(): void } {
  return one.sockets.at(-1) as unknown as { terminate(): void };
}

function withoutDeflate() {
  const Socket = Watched.socket;
  return class extends Socket {
    constructor(url: string, protocols?: string[]) {
      super(url, protocols ?? [], { perMessageDeflate: false });
    }
  };
}
