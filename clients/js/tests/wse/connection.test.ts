// A client against a server that says anything, at any time.
import { deflateSync } from "node:zlib";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { WSEClientConfig } from "../../src/wse/index.js";
import { type FakeLink, FakeServer, Watched } from "./support.js";

let server: FakeServer;
let watched: Watched[] = [];
const rejections: unknown[] = [];
const noteRejection = (reason: unknown) => rejections.push(reason);

beforeEach(async () => {
  server = await FakeServer.start();
  process.on("unhandledRejection", noteRejection);
  process.on("uncaughtException", noteRejection);
});
afterEach(async () => {
  for (const { client } of watched) client.stop();
  watched = [];
  await server.stop();
  process.off("unhandledRejection", noteRejection);
  process.off("uncaughtException", noteRejection);
  expect(rejections.splice(0)).toEqual([]);
});

function client(config: WSEClientConfig = {}, token?: string, url: string | string[] = server.url): Watched {
  const one = new Watched(url, config, token);
  watched.push(one);
  return one;
}

const state = (one: Watched) => one.client.store.getState().connectionState;
const reaches = (one: Watched, wanted: string) => expect.poll(() => state(one)).toBe(wanted);

test("the handshake is that of the published clients", async () => {
  client().start("prices", "news");
  const link = await server.link();
  const query = new URL(link.path, "ws://x").searchParams;
  expect(Object.fromEntries(query)).toEqual({ client_version: "2.5.1", protocol_version: "1", compression: "true", encryption: "false" });
  link.ready();
  const hello = await link.next("client_hello");
  expect(Object.keys(hello)).toEqual(["c", "t", "p", "id", "ts", "v", "pri"]);
  expect(hello).toMatchObject({ c: "WSE", p: { protocol_version: 1, connection_id: "c1", features: { compression: true, encryption: false } }, v: 1, pri: 10 });
  const subscribed = await link.next("subscription_update");
  expect(subscribed).toMatchObject({ c: "WSE", p: { action: "subscribe", topics: ["prices", "news"] }, seq: 1, v: 1, pri: 8 });
  expect(await link.next("sync_request")).toMatchObject({ c: "S", p: { topics: ["prices", "news"], include_snapshots: true } });
  expect(link.raw[0]).toMatch(/^\{"c":"WSE","t":"client_hello"/);
});

test("a token that is a JWT goes along, another is a sign that a cookie is there", async () => {
  client({}, "aaa.bbb.ccc").start();
  expect((await server.link()).protocol).toBe("bearer");
  client({}, "cookie").start();
  const second = await server.link();
  expect(second.protocol).toBe("");
  client({ tokenIn: "query" }, "aaa.bbb.ccc").start();
  expect((await server.link()).path).toContain("access_token=aaa.bbb.ccc");
});

test("messages come by handler, by event of their type and of their topic, and as the last one", async () => {
  const one = client().watch("tick").start("prices");
  const link = await server.link();
  await link.open();
  link.say({ tp: "prices", e: "1f", o: 1, c: "U", t: "tick", p: { n: 1 }, v: 1 });
  link.say({ c: "U", t: "error_report", p: [1, 2] });
  await expect.poll(() => one.client.store.getState().lastMessage?.t).toBe("error_report");
  expect(one.numbers()).toEqual([1]);
  expect(one.told("tick")).toEqual([{ n: 1 }]);
  expect(one.told("prices")).toMatchObject([{ type: "tick", payload: { n: 1 }, topic: "prices", offset: 1 }]);
  expect(one.told("error_report")).toEqual([{ data: [1, 2] }]);
});

test("pings of every form are answered, in clear", async () => {
  client().start();
  const link = await server.link();
  link.ready();
  await link.next("client_hello");
  link.say({ c: "WSE", t: "PING", p: { timestamp: 7, server_time: "then" } });
  expect(await link.next("PONG")).toMatchObject({ c: "WSE", p: { server_timestamp: "then" } });
  link.say({ c: "WSE", t: "ping", p: { timestamp: 8 } });
  expect(await link.next("PONG")).toMatchObject({ p: { server_timestamp: 8 } });
  link.say("PING:77");
  await link.next("old pong");
  expect(link.raw).toContain("PONG:77");
});

test("a connection that says nothing is given up", async () => {
  const one = client({ heartbeatInterval: 20, idleTimeout: 1_000 }).start();
  (await server.link()).ready();
  await reaches(one, "connected");
  const second = await server.link();
  second.ready();
  expect(one.states).toContain("reconnecting");
});

test("a connection that answers stays, and its latency is measured", async () => {
  const one = client({ heartbeatInterval: 20, idleTimeout: 10_000 }).start();
  const link = await server.link();
  link.ready();
  for (let i = 0; i < 12; i++) {
    const ping = await link.next("ping");
    link.say({ c: "WSE", t: "PONG", p: { client_timestamp: ping.p.timestamp, server_timestamp: 0, latency: 1 } });
  }
  await expect.poll(() => one.client.monitor.getLatencyStats().current).not.toBeNull();
  expect(server.links).toHaveLength(1);
  // Which one is a matter of how busy this machine is.
  await expect.poll(() => one.client.store.getState().diagnostics?.quality).not.toBe("unknown");
  expect(one.told("connectionQualityChanged").length).toBeGreaterThan(0);
});

test("quality changes with the round trip, down and up", async () => {
  const one = client({ heartbeatInterval: 10_000 }).start();
  (await server.link()).ready();
  await reaches(one, "connected");
  const latencies = (of: number) => {
    for (let i = 0; i < 100; i++) (one.client.monitor.recordLatency(of), undefined);
  };
  const link = server.links[0]!;
  const ask = async () => {
    const ping = await link.next("ping");
    link.say({ c: "WSE", t: "PONG", p: { client_timestamp: ping.p.timestamp } });
  };
  latencies(500);
  await ask();
  await expect.poll(() => one.told("connectionQualityChanged").at(-1)?.quality).toBe("poor");
});

test.each([1001, 1005, 1006, 1011, 1012, 1013, 4300, 4429])("after %d it comes back", async (code) => {
  const one = client().start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  if (code === 1006) link.cut();
  else if (code === 1005) link.socket.close();
  else link.socket.close(code, "as it likes");
  (await server.link()).ready();
  await reaches(one, "connected");
  expect(one.client.store.getState().metrics.reconnectCount).toBe(1);
});

test.each([
  [1000, "", "disconnected"],
  [1008, "Closed by the application", "error"],
  [4403, "Origin not allowed", "error"],
  [4401, "Authentication failed", "error"],
])("after %d %s it does not, until it is told to", async (code, reason, ends) => {
  const one = client().start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  link.socket.close(code, reason);
  await reaches(one, ends);
  one.client.reconnect();
  (await server.link()).ready();
  await reaches(one, "connected");
});

test("a wait that the server asks for is kept", async () => {
  const one = client().start();
  const link = await server.link();
  link.say({ c: "WSE", t: "error", p: { code: "RATE_LIMITED", message: "later", retry_after: 0.5 } });
  const before = Date.now();
  link.socket.close(1013, "Overloaded, try again later");
  await server.link();
  expect(Date.now() - before).toBeGreaterThanOrEqual(490);
  expect(one.told("rateLimitExceeded")).toMatchObject([{ retryAfter: 0.5 }]);
});

test("a refused token is refreshed, also by an endpoint that is slow and fails first", async () => {
  let calls = 0;
  const refreshAuthToken = async () => {
    await new Promise((done) => setTimeout(done, 50));
    if (++calls < 3) throw new Error("503");
    return "new.new.new";
  };
  const one = client({ refreshAuthToken }, "old.old.old").start("t");
  for (let i = 0; i < 3; i++) {
    const link = await server.link();
    link.say({ c: "WSE", t: "error", p: { code: "AUTH_FAILED", message: "Authentication failed" } });
    link.socket.close(4401, "Authentication failed");
  }
  await (await server.link()).open();
  await reaches(one, "connected");
  expect(calls).toBe(3);
  expect(one.told("wseAuthFailed")).toHaveLength(3);
});

test("where there is no other token it gives up, until it gets one", async () => {
  const one = client({ refreshAuthToken: async () => null }, "old.old.old").start("t");
  (await server.link()).socket.close(4401, "Token revoked");
  await reaches(one, "error");
  one.client.setToken("new.new.new");
  await (await server.link()).open();
  await reaches(one, "connected");
});

test("the token that was refreshed stays, whoever says the older one again", async () => {
  const one = client({ refreshAuthToken: async () => "new.new.new", tokenIn: "query" }, "old.old.old").start();
  (await server.link()).socket.close(4401, "Token expired");
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  one.client.setToken("old.old.old");
  expect(state(one)).toBe("connected");
  one.client.setToken("other.other.other");
  expect((await server.link()).path).toContain("access_token=other.other.other");
});

/** All that was promised is done. */
const handled = () => new Promise((done) => setImmediate(done));

/** A `refreshAuthToken` whose results are given one by one. */
function answers() {
  const waiting: ((token: string | null) => void)[] = [];
  const refreshAuthToken = () => new Promise<string | null>((done) => waiting.push(done));
  return { waiting, refreshAuthToken };
}

test.each(["late.late.late", null])("a late refresh that gives %s changes nothing for the next login", async (late) => {
  const { waiting, refreshAuthToken } = answers();
  const one = client({ refreshAuthToken, tokenIn: "query" }, "ann.ann.ann").start("t");
  (await server.link()).socket.close(4401, "Token expired");
  await expect.poll(() => waiting.length).toBe(1);
  one.client.setToken("bob.bob.bob");
  await (await server.link()).open();
  await reaches(one, "connected");
  waiting[0]!(late);
  await handled();
  expect(one.states).not.toContain("error");
  server.links.at(-1)!.cut();
  const again = await server.link();
  expect(again.path).toContain("access_token=bob.bob.bob");
  await again.open();
  // Its own token is refused: it is asked for another one.
  again.socket.close(4401, "Token expired");
  await expect.poll(() => waiting.length).toBe(2);
  waiting[1]!("bob.bob.new");
  expect((await server.link()).path).toContain("access_token=bob.bob.new");
});

test.each(["late.late.late", null])("a late refresh that gives %s changes nothing after a logout", async (late) => {
  const { waiting, refreshAuthToken } = answers();
  const one = client({ refreshAuthToken, tokenIn: "query" }, "ann.ann.ann").start();
  (await server.link()).socket.close(4401, "Token expired");
  await expect.poll(() => waiting.length).toBe(1);
  one.client.disconnect();
  waiting[0]!(late);
  await handled();
  expect(state(one)).toBe("disconnected");
  one.client.reconnect();
  expect((await server.link()).path).toContain("access_token=ann.ann.ann");
});

test("a refresh that says no does not end a connection that is up again", async () => {
  const { waiting, refreshAuthToken } = answers();
  const one = client({ refreshAuthToken }, "ann.ann.ann").start();
  (await server.link()).socket.close(4401, "Token expired");
  await expect.poll(() => waiting.length).toBe(1);
  one.client.reconnect();
  (await server.link()).ready();
  await reaches(one, "connected");
  waiting[0]!(null);
  await handled();
  expect(one.states).not.toContain("error");
});

test("another token connects anew, and nothing of another user's waits for it", async () => {
  const jwt = (sub: string) => `e30.${Buffer.from(JSON.stringify({ sub })).toString("base64url")}.x`;
  const one = client({}, jwt("ann")).start("t");
  await (await server.link()).open();
  await reaches(one, "connected");
  one.client.sequencer.setTopicPosition("t", "e", 5);
  one.client.setToken(jwt("ann").replace(/x$/, "y"));
  const again = await (await server.link()).open();
  expect(again.p.recovery).toEqual({ t: { epoch: "e", offset: 5 } });
  one.client.setToken(jwt("bob"));
  const other = await (await server.link()).open();
  expect(other.p.recovery).toBeUndefined();
});

test("with a cookie the greeting says who it is, and nothing of another user's waits for it", async () => {
  const greet = (link: FakeLink, user_id: string | undefined, connection_id = "c1") =>
    link.say({ c: "WSE", t: "server_ready", p: { details: { connection_id, user_id, features: { recovery: true } } } });
  const one = client({}, "cookie");
  one.client.send("early");
  one.start("t");
  const first = await server.link();
  greet(first, "ann");
  await first.next("early");
  one.client.sequencer.setTopicPosition("t", "e", 5);
  first.cut();
  const again = await server.link();
  one.client.send("hers");
  greet(again, "ann");
  expect((await again.next("subscription_update")).p.recovery).toEqual({ t: { epoch: "e", offset: 5 } });
  await again.next("hers");
  again.cut();
  const other = await server.link();
  one.client.send("hers");
  greet(other, "bob");
  expect((await other.next("subscription_update")).p.recovery).toBeUndefined();
  expect(one.told("wseMessageDropped")).toMatchObject([{ type: "hers", reason: "owner" }]);
  one.client.send("his");
  await other.next("his");
  expect(other.raw.join()).not.toContain("hers");
});

test("what was sent before a greeting that never came is not the next one's after a logout", async () => {
  const one = client({}, "cookie").start();
  await server.link();
  one.client.send("hers");
  one.client.stop();
  expect(one.told("wseMessageDropped")).toMatchObject([{ type: "hers", reason: "owner" }]);
  one.client.start();
  const link = await server.link();
  one.client.send("his");
  link.ready();
  await link.next("his");
  expect(link.raw.join()).not.toContain("hers");
});

test("what a refresh has given ends with its login", async () => {
  const one = client({ refreshAuthToken: async () => "ann.ann.two", tokenIn: "query" }, "cookie").start();
  (await server.link()).socket.close(4401, "Token expired");
  expect((await server.link()).path).toContain("access_token=ann.ann.two");
  one.client.stop();
  one.client.setToken("cookie");
  one.client.start();
  expect((await server.link()).path).toContain("access_token=cookie");
});

test("a close that comes before the start holds until it is to connect again", async () => {
  const one = client();
  one.client.disconnect();
  one.client.start();
  await handled();
  expect(one.sockets).toHaveLength(0);
  one.client.reconnect();
  (await server.link()).ready();
  await reaches(one, "connected");
});

test("another token of the same user, who is known by the greeting alone, keeps positions", async () => {
  const one = client({ tokenIn: "query" }, "opaque1").start("t");
  await (await server.link()).open();
  await reaches(one, "connected");
  one.client.sequencer.setTopicPosition("t", "e", 5);
  one.client.setToken("opaque2");
  expect((await (await server.link()).open()).p.recovery).toEqual({ t: { epoch: "e", offset: 5 } });
});

test("who is anonymous, with a name for each connection, keeps positions and messages", async () => {
  const one = client({}, "cookie").start("t");
  for (const connection_id of ["c1", "c2", "c3"]) {
    const link = await server.link();
    link.say({ c: "WSE", t: "server_ready", p: { details: { connection_id, user_id: `anonymous-${connection_id}`, features: { recovery: true } } } });
    const asked = await link.next("subscription_update");
    if (connection_id !== "c1") {
      expect(asked.p.recovery).toEqual({ t: { epoch: "e", offset: 5 } });
      await link.next("waits");
    } else one.client.sequencer.setTopicPosition("t", "e", 5);
    link.cut();
    await reaches(one, "reconnecting");
    one.client.send("waits");
  }
});

test("it gives up after as many attempts as it may", async () => {
  const port = server.port;
  await server.stop();
  const one = client({ reconnection: { baseDelay: 1, maxDelay: 5, maxAttempts: 3 } }, undefined, `ws://127.0.0.1:${port}/wse`).start();
  await reaches(one, "error");
  expect(one.client.store.getState().lastError).toContain("3 attempts have failed");
  server = await FakeServer.start(port);
  one.client.reconnect();
  (await server.link()).ready();
  await reaches(one, "connected");
});

test("it fails over to another endpoint, and health scores say why", async () => {
  const dead = "ws://127.0.0.1:1/wse";
  const one = client({ loadBalancing: "round-robin" }, undefined, [dead, server.url]).start();
  (await server.link()).ready();
  await reaches(one, "connected");
  const scores = one.client.connection.pool.getHealthScores();
  expect(scores[dead]).toBeLessThan(100);
  expect(scores[server.url]).toBe(100);
  expect(one.client.store.getState().activeEndpoint).toBe(server.url);
});

test("addresses that are none are said to be", async () => {
  const one = client({}, undefined, "not an address").start();
  await reaches(one, "error");
  expect(one.client.store.getState().lastError).toContain("not an address");
  await reaches(client({}, undefined, []).start(), "error");
});

test("what cannot be connected to is told without the token", async () => {
  const token = "b3BhcXVl/w==";
  class Strict {
    constructor(url: string, protocols: string[] = []) {
      throw new SyntaxError(`'${protocols[1] ?? url}' is invalid`);
    }
  }
  for (const tokenIn of ["protocol", "query"] as const) {
    const one = client({ tokenIn, WebSocket: Strict as never }, token).start();
    await reaches(one, "error");
    const { lastError, errorHistory } = one.client.store.getState();
    expect(lastError).toMatch(/SyntaxError.*tokenIn/);
    const all = JSON.stringify([errorHistory, one.events, await one.client.diagnostics()]);
    for (const form of [token, encodeURIComponent(token)]) expect(all).not.toContain(form);
  }
});

test("a server that greets nobody is used after a while", async () => {
  const one = client({ connectionTimeout: 1_000 }).start("t");
  const link = await server.link();
  await link.next("client_hello");
  await link.next("subscription_update");
  await reaches(one, "connected");
});

test("subscriptions are told once for all that happens at a time", async () => {
  const one = client().start("a");
  const link = await server.link();
  await link.open();
  one.client.subscribe(["b", "c"]);
  one.client.unsubscribe(["c"]);
  one.client.unsubscribe(["a"]);
  expect(await link.next("subscription_update")).toMatchObject({ p: { action: "unsubscribe", topics: ["a"] } });
  expect(await link.next("subscription_update")).toMatchObject({ p: { action: "subscribe", topics: ["b"] } });
  const owner = {};
  one.client.subscribe(["b"], owner);
  one.client.unsubscribe(["b"]);
  await Promise.resolve();
  expect(one.client.store.getState().activeTopics).toEqual(["b"]);
});

test("many topics are asked for in several requests", async () => {
  client().start(...Array.from({ length: 250 }, (_, i) => `t${i}`));
  const link = await server.link();
  link.ready();
  for (const count of [100, 100, 50]) expect((await link.next("subscription_update")).p.topics).toHaveLength(count);
});

test("what fails is said, in both forms that servers have", async () => {
  const one = client().start("a", "b", "c");
  const link = await server.link();
  link.ready();
  await link.next("subscription_update");
  link.say({ c: "WSE", t: "subscription_update", p: { action: "subscribe", success: false, success_topics: ["a"], failed_topics: ["b", { topic: "c", error: "no" }] } });
  await expect.poll(() => one.client.store.getState().subscriptions.failedSubscriptions).toEqual(["b", "c"]);
  expect(one.client.store.getState().subscriptions.pendingSubscriptions).toEqual([]);
  expect(one.told("subscriptionUpdate")).toHaveLength(1);
});

const stamped = (offset: number, epoch = "e") => ({ tp: "t", e: epoch, o: offset, c: "U", t: "tick", p: { n: offset }, v: 1 });

test("after a cut it asks for what it missed, and delivers each once", async () => {
  const one = client().watch("tick").start("t");
  const link = await server.link();
  await link.open();
  for (const n of [1, 2]) link.say(stamped(n));
  await expect.poll(() => one.numbers()).toEqual([1, 2]);
  link.cut();
  const second = await server.link();
  second.ready();
  const asked = await second.next("subscription_update");
  expect(asked.p).toMatchObject({ recover: true, recovery: { t: { epoch: "e", offset: 2 } } });
  for (const n of [2, 3, 4]) second.say(stamped(n));
  second.confirm(asked, { t: { epoch: "e", offset: 4, recovered: true, count: 2 } });
  second.say(stamped(5));
  await expect.poll(() => one.numbers()).toEqual([1, 2, 3, 4, 5]);
  expect(one.told("wseGap")).toEqual([]);
});

test("a hole is asked for once, and what cannot be had is told once", async () => {
  const one = client().watch("tick").start("t");
  const link = await server.link();
  await link.open();
  for (const n of [1, 4, 5, 6]) link.say(stamped(n));
  const asked = await link.next("subscription_update");
  expect(asked.p).toEqual({ action: "subscribe", topics: ["t"], recover: true, recovery: { t: { epoch: "e", offset: 1 } } });
  link.say({ c: "WSE", t: "subscription_update", p: { action: "recover", success_topics: ["t"], recovery: { t: { epoch: "e", offset: 3, recovered: false, count: 3 } } } });
  link.say({ c: "WSE", t: "gap", p: { topic: "t", lost: 2 } });
  for (const n of [4, 5, 6]) link.say(stamped(n));
  link.confirm(asked, { t: { epoch: "e", offset: 6, recovered: false, count: 3 } });
  await expect.poll(() => one.numbers()).toEqual([1, 4, 5, 6]);
  link.say(stamped(7));
  await expect.poll(() => one.numbers()).toHaveLength(5);
  await new Promise((done) => setTimeout(done, 1_100));
  expect(one.told("wseGap")).toEqual([{ topic: "t", lost: 2 }]);
  expect(link.heard.filter(({ t }) => t === "subscription_update")).toEqual([]);
});

test("what is sent without a connection waits, urgent ones first, and goes once", async () => {
  const one = client();
  one.client.send("early", { n: 0 });
  one.start();
  const link = await server.link();
  link.ready();
  expect(await link.next("early")).toMatchObject({ c: "U", p: { n: 0 }, pri: 5 });
  link.cut();
  await reaches(one, "reconnecting");
  for (const [n, priority] of [[1, 1], [2, 10], [3, 5]] as const) one.client.send("late", { n }, { priority });
  const second = await server.link();
  second.ready();
  for (const n of [2, 3, 1]) expect((await second.next("late")).p.n).toBe(n);
  expect(one.client.queue.size).toBe(0);
});

test("without an offline queue what cannot be sent is refused, and told", async () => {
  const one = client({ offline: { enabled: false, persistToStorage: false }, reconnection: { baseDelay: 60_000 } }).start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  link.cut();
  await reaches(one, "reconnecting");
  expect(one.client.send("late")).toBe(false);
  expect(one.told("wseMessageDropped")).toMatchObject([{ type: "late", reason: "offline" }]);
});

test("beyond the rate messages wait, in order", async () => {
  const one = client({ rateLimit: { capacity: 3, refillRate: 2 } }).start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  for (let n = 0; n < 6; n++) expect(one.client.send("x", { n })).toBe(true);
  for (let n = 0; n < 6; n++) expect((await link.next("x")).p.n).toBe(n);
  expect(one.told("clientRateLimitExceeded").length).toBeGreaterThan(0);
});

test("a message that must be encrypted is never sent in clear", async () => {
  const one = client().start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  expect(one.client.send("secret", {}, { encrypted: true })).toBe(false);
  one.client.send("plain");
  await link.next("plain");
  expect(link.raw.join()).not.toContain("secret");
});

test("without a key it goes on with an error, or not at all", async () => {
  const lenient = client({ security: { encryptionEnabled: true } }).start("t");
  const link = await server.link();
  link.ready();
  const hello = await link.next("client_hello");
  expect(Buffer.from(hello.p.encryption_public_key, "base64")).toHaveLength(65);
  expect(link.heard.filter(({ t }) => t === "subscription_update")).toEqual([]);
  link.say({ c: "WSE", t: "server_hello", p: { features: { encryption: false } } });
  await link.next("subscription_update");
  expect(lenient.client.store.getState().lastError).toContain("clear text");

  const strict = client({ security: { encryptionEnabled: true, encryptionRequired: true } }).start("t");
  const second = await server.link();
  second.ready();
  await second.next("client_hello");
  second.say({ c: "WSE", t: "server_hello", p: { features: { encryption: true }, encryption_public_key: "AAAA" } });
  await reaches(strict, "error");
  expect(second.raw.join()).not.toContain("subscription_update");
});

test("encryption that is required is asked for, whatever else is said of it", async () => {
  const one = client({ security: { encryptionRequired: true } }).start("t");
  const link = await server.link();
  expect(link.path).toContain("encryption=true");
  link.ready();
  expect((await link.next("client_hello")).p).toMatchObject({ features: { encryption: true }, encryption_public_key: expect.any(String) });
  expect(one.client.connection.send({ t: "secret", p: {} })).toBe(false);
  link.say({ c: "WSE", t: "server_hello", p: { features: { encryption: false } } });
  await reaches(one, "error");
  expect(one.client.store.getState().lastError).toBe("the server does not encrypt");
  expect(link.raw.join()).not.toMatch(/subscription_update|secret/);
});

test("where encryption that is required ends, the connection does", async () => {
  const one = client({ security: { encryptionEnabled: true, encryptionRequired: true } }).start("t");
  const link = await server.link();
  link.ready();
  await link.next("client_hello");
  link.agree();
  await reaches(one, "connected");
  expect(one.client.connection.isEncrypted()).toBe(true);
  link.say({ c: "WSE", t: "encryption_response", p: { enabled: false } });
  await reaches(one, "error");
  expect(one.client.store.getState().lastError).toBe("the server has ended encryption");
  one.client.send("secret");
  await expect.poll(() => link.closed).toBe(1000);
  expect(link.raw.join()).not.toMatch(/subscription_update|secret/);
});

test("where encryption that is not required ends, it is told, and what must be encrypted is refused", async () => {
  const one = client({ security: { encryptionEnabled: true } }).start();
  const link = await server.link();
  link.ready();
  await link.next("client_hello");
  link.agree();
  await reaches(one, "connected");
  expect(one.client.send("sealed", {}, { encrypted: true })).toBe(true);
  link.say({ c: "WSE", t: "encryption_response", p: { enabled: false } });
  await expect.poll(() => one.client.store.getState().lastError).toContain("ended encryption: messages go in clear text");
  expect(one.client.send("secret", {}, { encrypted: true })).toBe(false);
  expect(one.told("wseMessageDropped")).toMatchObject([{ type: "secret", reason: "encryption" }]);
  one.client.send("plain");
  await link.next("plain");
  expect(link.raw.join()).not.toMatch(/"(sealed|secret)"/);
});

test("a greeting that comes again does not end encryption", async () => {
  const one = client({ security: { encryptionEnabled: true } }).start();
  const link = await server.link();
  const greet = async () => {
    link.say({ c: "WSE", t: "server_ready", p: {} });
    return (await link.next("client_hello")).p.encryption_public_key as string;
  };
  const point = await greet();
  link.agree();
  await reaches(one, "connected");
  expect(await greet()).toBe(point);
  expect(one.client.send("secret", {}, { encrypted: true })).toBe(true);
  await expect.poll(() => link.raw.some((frame) => frame instanceof Buffer && frame.toString("latin1").startsWith("E:"))).toBe(true);
  expect(link.raw.join()).not.toContain("secret");
});

test("signing without a key is an error, and not silence", async () => {
  const one = client({ security: { messageSignature: true } }).start("t");
  const link = await server.link();
  link.ready();
  await reaches(one, "error");
  expect(one.client.store.getState().lastError).toContain("signingKey");
  await expect.poll(() => link.closed).toBe(1000);
  expect(link.raw).toEqual([]);
});

test("requests of the server are answered", async () => {
  client().start("t");
  const link = await server.link();
  await link.open();
  for (const [ask, answer] of [["health_check", "health_check_response"], ["metrics_request", "metrics_response"], ["sync_request", "sync_response"]] as const) {
    link.say({ c: "WSE", t: ask, p: {} });
    expect((await link.next(answer)).p).toMatchObject({ client_version: "2.5.1", subscriptions: ["t"] });
  }
});

test("a batch is as if each had come alone", async () => {
  const one = client().watch("tick").start("t");
  const link = await server.link();
  await link.open();
  const messages = [stamped(1), null, stamped(1), { t: "batch", p: { messages: [stamped(2)] } }, 7, stamped(2)];
  link.say({ c: "WSE", t: "batch", p: { messages, count: messages.length } });
  await expect.poll(() => one.numbers()).toEqual([1, 2]);
});

test("order holds where some frames take longer to read", async () => {
  const one = client().watch("tick").start("t");
  const link = await server.link();
  await link.open();
  for (let n = 1; n <= 200; n++) {
    const json = JSON.stringify({ ...stamped(n), p: { n, pad: "x".repeat(n % 3 === 0 ? 20_000 : 10) } });
    link.say(n % 3 === 0 ? Buffer.concat([Buffer.from("C:"), deflateSync(json)]) : n % 3 === 1 ? json : Buffer.from(json));
  }
  await expect.poll(() => one.numbers().length).toBe(200);
  expect(one.numbers()).toEqual(Array.from({ length: 200 }, (_, i) => i + 1));
  await expect.poll(() => one.client.store.getState().metrics.compressionHits).toBe(66);
});

test("a handler that throws concerns nobody else", async () => {
  const one = client();
  const error = vi.spyOn(console, "error").mockImplementation(() => {});
  one.client.on("tick", () => {
    throw new Error("oh");
  });
  one.watch("tick").start("t");
  const link = await server.link();
  await link.open();
  link.say(stamped(1));
  await expect.poll(() => one.numbers()).toEqual([1]);
  expect(error).toHaveBeenCalled();
  error.mockRestore();
});

test("events cannot be taken for the page's own", async () => {
  const one = client();
  (one.client.page as any).target.onerror = null;
  one.start();
  const link = await server.link();
  link.ready();
  await reaches(one, "connected");
  (one.client.page as any).target.onstorage = null;
  link.say({ c: "U", t: "storage", p: { n: 1 } });
  await expect.poll(() => one.told("wse:storage")).toEqual([{ n: 1 }]);
  expect(one.told("storage")).toEqual([]);
});

test("frames of every kind, broken and unknown, leave it as it was", async () => {
  const one = client().watch("tick").start("t");
  const link = await server.link();
  await link.open();
  const values = [null, 7, "x", [], {}, { a: 1 }, [[]], true, "__proto__"];
  const types = "server_hello subscription_update error gap batch health_check metrics_request sync_request config_update PONG pong heartbeat rate_limit_warning connection_quality connection_state_change priority_message snapshot_complete presence_join presence_state encryption_response key_rotation_response publish_ack client_hello_ack unknown_type __proto__ constructor toString".split(" ");
  for (const t of types) {
    for (const p of values) {
      for (const extra of [{}, { topics: p, success_topics: p, failed_topics: p, recovery: p, messages: p, features: p, details: p, topic: p, lost: p, retry_after: p }]) {
        link.say({ c: "WSE", t, p: typeof p === "object" && p !== null && !Array.isArray(p) ? { ...p, ...extra } : Object.keys(extra).length > 0 ? extra : p });
      }
    }
  }
  link.say({ c: "WSE", t: "subscription_update", p: { action: "subscribe", recovery: { t: null, u: 7, v: { epoch: {}, offset: "x" }, __proto__: { epoch: 1, offset: 1 } } } });
  const json = JSON.stringify(stamped(1));
  for (let end = 0; end < json.length; end++) link.say(json.slice(0, end));
  const binary = Buffer.concat([Buffer.from("C:"), deflateSync(json)]);
  for (let end = 0; end < binary.length; end++) link.say(binary.subarray(0, end));
  for (const noise of ["", "\u0000", "WSE", "WSE{", "U{]", "C:", "M:", "E:xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"]) {
    link.say(noise);
    link.say(Buffer.from(noise));
  }
  link.say(stamped(1));
  await expect.poll(() => one.numbers()).toEqual([1]);
  expect(state(one)).toBe("connected");
  expect(one.client.store.getState().metrics.protocolErrors).toBeGreaterThan(50);
  expect(one.client.store.getState().errorHistory.length).toBeLessThanOrEqual(50);
  expect(JSON.stringify(await one.client.diagnostics())).toContain("recoveryState");
});

test("half a frame and a broken one cost the connection alone", async () => {
  const one = client().watch("tick").start("t");
  for (const bytes of [[0x81, 0x7e, 0x01, 0x00, 0x7b], [0xff, 0x01, 0x00], [0x83, 0x00], [0x81, 0x01, 0xff]]) {
    const link = await server.link();
    await link.open();
    // Past the library, which writes whole frames alone.
    (link.socket as unknown as { _socket: NodeJS.WritableStream })._socket.write(Buffer.from(bytes));
    if (bytes[0] === 0x81 && bytes[1] === 0x7e) link.cut();
  }
  const link = await server.link();
  await link.open();
  link.say(stamped(1));
  await expect.poll(() => one.numbers()).toEqual([1]);
});

test("it can be stopped and started, with one connection at a time", async () => {
  const one = client().start("t");
  const link = await server.link();
  await link.open();
  one.client.stop();
  await expect.poll(() => link.closed).toBe(1000);
  one.client.start();
  await (await server.link()).open();
  await reaches(one, "connected");
  expect(server.links).toHaveLength(2);
});
