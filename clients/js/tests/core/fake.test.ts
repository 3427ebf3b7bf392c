// Against a gateway that says what a real one does not.
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Client, FanfareError, type Frame, type Gap, type Subscription, type TopicEvent } from "../../src/core/index.js";
import { client, errors, state, until } from "../support/client.js";
import { FakeGateway, type Link, answer, frame } from "../support/fake.js";

let fake: FakeGateway;
beforeEach(async () => void (fake = await FakeGateway.start()));
afterEach(() => fake.stop());

const code = (code: string) => expect.objectContaining({ code });

/** A client that is open, and its connection. */
async function opened(options = {}): Promise<[Client, Link]> {
  const one = client(fake.url, options);
  const link = await fake.link();
  link.greet();
  const ping = await link.next("ping");
  link.say({ type: "pong", id: ping.id });
  await state(one, "open");
  return [one, link];
}

describe("frames", () => {
  const frames: [string, unknown][] = [
    ["a greeting again", { type: "connection_established", client_id: "x" }],
    ["a pong", { type: "pong" }],
    ["heartbeat_ack", { type: "heartbeat_ack" }],
    ["an unknown type", { type: "from.the.future", event: "news", id: 99 }],
    ["an answer that was not asked for", { type: "response", id: 12345, result: {} }],
    ["an error without a request", { type: "error", code: "BUSY", message: "later", details: { retry_after: 0.01 } }],
    ["an error of wrong kinds", { type: "error", code: 7, message: null, details: "none" }],
    ["an empty batch", { type: "batch", messages: [] }],
    ["a batch", { type: "batch", messages: [{ type: "pong" }, { type: "broadcast", data: 1 }] }],
    ["a broadcast", { type: "broadcast", event: null, data: [1], event_id: "1-1" }],
    ["a message of the application", { type: "event", event: "greeting", data: 1 }],
    ["an event of no subscription", { type: "event", event: "other", data: 1, event_id: "1-1" }],
    ["an event without a place", { type: "event", event: "news", data: 1 }],
    ["an event whose name is none", { type: "event", event: 7, data: 1, event_id: "1-1" }],
    ["presence of no topic", { type: "presence", event: "other", data: { action: "join" }, presence_seq: 1 }],
    ["presence without data", { type: "presence", event: "news", data: null }],
    ["a gap of no subscription", { type: "gap", event: "other", lost: 3 }],
    ["a confirmation that was not asked for", { type: "subscription_confirmed", events: ["x"], topics: {}, id: 77 }],
    ["a prototype", '{"type":"event","__proto__":{"x":1},"event":"constructor","event_id":"1-1"}'],
  ];

  test.each(frames)("%s: the client goes on", async (_, sent) => {
    const one = client(fake.url);
    const news = one.subscribe("news");
    const link = await fake.link();
    await link.open();
    link.say(sent);
    link.event("news", 1, "after");
    for await (const event of news) {
      expect(event.data).toBe("after");
      break;
    }
    expect(one.state).toBe("open");
    expect(fake.links).toHaveLength(1);
    expect(errors.get(one)).toEqual([]);
  });

  const broken: [string, (link: Link, asked: Frame) => void][] = [
    ["no JSON", (link) => link.say('{"type":"event",')],
    ["nothing", (link) => link.say("")],
    ["null", (link) => link.say("null")],
    ["a number", (link) => link.say("7")],
    ["no type", (link) => link.say({})],
    ["a type that is no text", (link) => link.say({ type: { a: 1 }, id: {} })],
    ["binary", (link) => link.binary(Uint8Array.of(0x81, 0xa4))],
    ["a batch of none", (link) => link.say({ type: "batch", messages: 7 })],
    ["a batch of null", (link) => link.say({ type: "batch", messages: [null] })],
    ["a batch within itself, deeply", (link) => link.say('{"type":"batch","messages":['.repeat(20_000) + "]}".repeat(20_000))],
    ["an event_id that is none", (link) => link.say({ type: "event", event: "news", data: 1, event_id: "x" })],
  ];

  test.each(broken)("%s: is reported, and costs a connection", async (_, say) => {
    const one = client(fake.url);
    const news = one.subscribe("news");
    const first = await fake.link();
    const asked = await first.open();
    await news.ready();
    first.event("news", 1, "before");
    say(first, asked);
    const second = await fake.link();
    second.greet();
    const again = await second.next("subscribe");
    expect(again.recover).toEqual({ news: { epoch: "1", offset: "1" } });
    second.confirm(again, { news: { epoch: 1, offset: 1, recovered: true, count: 0 } });
    second.event("news", 2, "after");
    const got: unknown[] = [];
    for await (const event of news) if (got.push(event.data) === 2) break;
    expect(got).toEqual(["before", "after"]);
    expect(errors.get(one)).toEqual([code("BROKEN_FRAME")]);
  });

  const confirmations: [string, object][] = [
    ["events that are none", { events: 7 }],
    ["a place without an offset", { topics: { news: { epoch: 1 } } }],
    ["a place that is none", { topics: { news: null } }],
    ["an offset that is none", { topics: { news: { epoch: 1, offset: "x" } } }],
    ["a broken offset", { topics: { news: { epoch: 1, offset: 1.5 } } }],
  ];

  test.each(confirmations)("a confirmation with %s: is reported, and the next one counts", async (_, sent) => {
    const one = client(fake.url);
    const news = one.subscribe("news");
    const first = await fake.link();
    first.greet();
    const asked = await first.next("subscribe");
    first.say({ type: "subscription_confirmed", id: asked.id, events: ["news"], topics: {}, ...sent });
    await (await fake.link()).open();
    await news.ready();
    expect(errors.get(one)).toEqual([code("BROKEN_FRAME")]);
  });

  test("a gateway that only ever says nonsense is asked ever more slowly", async () => {
    vi.spyOn(Math, "random").mockReturnValue(1);
    const one = client(fake.url, { retryMin: 1, retryMax: 1000 });
    const delays: number[] = [];
    one.on("state", ({ delay }) => delay !== undefined && delays.push(delay));
    for (let i = 0; i < 7; i++) {
      const link = await fake.link();
      link.greet();
      const ping = await link.next("ping");
      link.say({ type: "pong", id: ping.id });
      link.say("nonsense");
      await link.closed;
    }
    vi.restoreAllMocks();
    expect(delays).toEqual([1, 2, 4, 8, 16, 32, 64]);
  });

  test("half a frame, and then nothing: the connection is made anew", async () => {
    const [one, link] = await opened();
    const whole = frame(1, Buffer.from('{"type":"broadcast","data":"never"}'));
    const heard: unknown[] = [];
    one.on("message", (message) => heard.push(message));
    for (const end of [1, 2, whole.length - 1]) {
      const current = fake.links.at(-1)!;
      current.raw(whole.subarray(0, end));
      current.cut();
      const next = await fake.link();
      next.greet();
      const ping = await next.next("ping");
      next.say({ type: "pong", id: ping.id });
      await state(one, "open");
    }
    expect(link).toBe(fake.links[0]);
    expect(heard).toEqual([]);
    expect(errors.get(one)).toEqual([]);
  });

  test("bytes that are no frame: the connection is made anew", async () => {
    const [one, link] = await opened();
    link.raw(Buffer.from("HTTP/1.1 502 Bad Gateway\r\n\r\n"));
    await state(one, "waiting");
    await fake.link();
    expect(errors.get(one)).toEqual([]);
  });

  test("what nothing has taken is a message", async () => {
    const [one, link] = await opened();
    const heard: Frame[] = [];
    one.on("message", (message) => heard.push(message));
    const sent = [
      { type: "broadcast", event: null, data: 1 },
      { type: "event", event: "greeting", data: 2 },
      { type: "query_result", data: 3 },
    ];
    for (const message of sent) link.say(message);
    await until(() => heard.length === sent.length);
    expect(heard).toEqual(sent);
  });
});

describe("ends", () => {
  test.each([
    [1001, "Server shutdown"],
    [1006, ""],
    [1008, "Too many connections"],
    [1008, "Message not finished in time"],
    [1009, "Message too large"],
    [1011, "Internal server error"],
    [1012, "Service restart"],
    [1013, "Slow consumer"],
    [3000, "of the application"],
    [4000, ""],
  ])("%i %s: connects again", async (code, reason) => {
    const [one, link] = await opened();
    if (code === 1006) link.cut();
    else link.close(code, reason);
    await state(one, "waiting");
    expect(one.status.error).toMatchObject({ code: "CONNECTION_LOST", remedy: "retry", details: { code, reason } });
    await fake.link();
  });

  test.each([
    [1002, "Protocol error"],
    [1003, "Unsupported message type"],
    [1007, "Invalid UTF-8"],
    [1008, "Blocked"],
    [1008, "Closed by the application"],
    [1008, "spam"],
  ])("%i %s: gives up, until reconnect()", async (code, reason) => {
    const [one, link] = await opened();
    const waits = one.request({ type: "app" });
    link.close(code, reason);
    await expect(waits).rejects.toThrow(FanfareError);
    await state(one, "ended");
    expect(one.status.error).toMatchObject({ remedy: "fix", details: { code, reason } });
    await expect(one.publish("a", 1)).rejects.toBe(one.status.error);
    one.reconnect();
    await (await fake.link()).greet();
    expect(one.state).toBe("connecting");
  });

  test("too many messages: waits for a minute", async () => {
    const [one, link] = await opened();
    link.close(1008, "Too many messages beyond the rate");
    await state(one, "waiting");
    expect(one.status.delay).toBeGreaterThanOrEqual(60_000);
  });

  test("1013 with a hint: waits for at least that", async () => {
    const [one, link] = await opened();
    link.say({ type: "error", code: "OVERLOADED", message: "later", details: { retry_after: 7 } });
    link.close(1013, "Overloaded, try again later");
    await state(one, "waiting");
    expect(one.status.delay).toBeGreaterThanOrEqual(7000);
    expect(one.status.delay).toBeLessThanOrEqual(8000);
  });

  test("a refusal before the upgrade: connects again", async () => {
    fake.refusals.push(answer(503, '{"detail":"full"}', { "retry-after": "1" }), answer(502, "<html>"), "nonsense");
    const one = client(fake.url);
    await (await fake.link()).greet();
    expect(one.state).toBe("connecting");
    expect(fake.refusals).toEqual([]);
  });

  test("a gateway that says nothing, on the connection or after it: is left", async () => {
    const one = client(fake.url, { pingInterval: 50, pingTimeout: 1_000 });
    const reasons: unknown[] = [];
    one.on("state", ({ error }) => error && reasons.push(error.message));
    await fake.link(); // no greeting
    const second = await fake.link();
    second.greet();
    const ping = await second.next("ping");
    second.say({ type: "pong", id: ping.id });
    await state(one, "open");
    await second.next("ping"); // whether it is there; it does not answer
    await fake.link();
    expect(reasons).toEqual(["No answer", "No answer"]);
  });

  test("reconnect() works in every state", async () => {
    const one = client(fake.url, { retryMin: 60_000, retryMax: 60_000 });
    expect(one.state).toBe("connecting");
    one.reconnect();
    const open = async () => {
      const link = await fake.link();
      link.greet();
      const ping = await link.next("ping");
      link.say({ type: "pong", id: ping.id });
      await state(one, "open");
      return link;
    };
    const first = await open();
    one.reconnect(); // open
    await first.closed;
    const second = await open();
    second.cut();
    await state(one, "waiting");
    one.reconnect();
    const third = await open();
    third.close(1003);
    await state(one, "ended");
    one.reconnect();
    await open();
    one.close();
    expect(one.state).toBe("closed");
    one.reconnect();
    await open();
  });

  test("close() before anything: there is no connection", async () => {
    const one = client(fake.url);
    one.close();
    await expect(one.publish("a", 1)).rejects.toEqual(code("CLOSED"));
    await new Promise((done) => setImmediate(done));
    expect(fake.links).toEqual([]);
  });

  test("a callback may call the client", async () => {
    const one = client(fake.url);
    one.on("state", ({ state }) => {
      if (state === "connecting") one.close();
    });
    await state(one, "closed");
    const two = client(fake.url);
    let times = 0;
    two.on("state", ({ state }) => {
      if (state === "open" && ++times < 3) two.reconnect();
    });
    for (let i = 0; i < 3; i++) {
      const link = await fake.link();
      link.greet();
      const ping = await link.next("ping");
      link.say({ type: "pong", id: ping.id });
    }
    await until(() => times === 3);
    expect(two.state).toBe("open");
  });

  test("what listeners throw is reported, and breaks nothing", async () => {
    const [one, link] = await opened();
    const news = one.subscribe("news");
    const fail = () => {
      throw new Error("mine");
    };
    one.on("state", fail);
    one.on("error", fail);
    news.on("state", fail);
    news.on("event", async () => fail());
    const got: unknown[] = [];
    news.on("event", (event) => got.push(event.data));
    const asked = await link.next("subscribe");
    link.confirm(asked);
    link.event("news", 1, 1);
    link.event("news", 2, 2);
    await until(() => got.length === 2);
    expect(errors.get(one)!.length).toBeGreaterThan(1);
    expect(one.state).toBe("open");
  });
});

describe("requests", () => {
  test("a publication is sent again with its key until it is acknowledged", async () => {
    const [one, first] = await opened();
    const offset = one.publish("orders", { n: 1 });
    const sent = await first.next("publish");
    first.cut();
    const second = await fake.link();
    second.greet();
    second.say({ type: "pong", id: (await second.next("ping")).id });
    const again = await second.next("publish");
    expect(again).toEqual(sent);
    expect(sent.key.length).toBeGreaterThan(10);
    second.say({ type: "response", id: again.id, result: { offset: 7 } });
    expect(await offset).toBe(7);
  });

  test("publications keep their order over a lost connection", async () => {
    const [one, first] = await opened();
    const all = [1, 2, 3].map((n) => one.publish("orders", n));
    for (const n of [1, 2, 3]) expect((await first.next("publish")).data).toBe(n);
    first.cut();
    all.push(one.publish("orders", 4));
    const second = await fake.link();
    second.greet();
    second.say({ type: "pong", id: (await second.next("ping")).id });
    for (const n of [1, 2, 3, 4]) {
      const message = await second.next("publish");
      expect(message.data).toBe(n);
      second.say({ type: "response", id: message.id, result: { offset: n } });
    }
    expect(await Promise.all(all)).toEqual([1, 2, 3, 4]);
  });

  test("what was changed after it was published is not sent", async () => {
    const one = client(fake.url);
    const data = { n: 1 };
    void one.publish("orders", data).catch(() => {});
    data.n = 2;
    const link = await fake.link();
    link.greet();
    link.say({ type: "pong", id: (await link.next("ping")).id });
    expect((await link.next("publish")).data).toEqual({ n: 1 });
  });

  test("over a rate it is sent again after the time that the gateway says", async () => {
    const [one, link] = await opened();
    const offset = one.publish("orders", 1, { key: "mine" });
    const sent = await link.next("publish");
    expect(sent.key).toBe("mine");
    link.say({ type: "error", id: sent.id, code: "RATE_LIMIT_EXCEEDED", message: "-", details: { retry_after: 0.01 } });
    const again = await link.next("publish");
    link.say({ type: "response", id: again.id, result: { offset: 1 } });
    expect(await offset).toBe(1);
  });

  test.each([
    ["was refused for a rate", true],
    ["was not answered", false],
  ])("after five minutes a publication that %s is sent again: %s", async (_, isSent) => {
    const [one, first] = await opened();
    const published = one.publish("news", 1);
    published.catch(() => {});
    const asked = await first.next("publish");
    if (isSent) first.say({ type: "error", id: asked.id, code: "BUSY", message: "-", details: { retry_after: 60 } });
    else first.cut();
    if (isSent) first.say({ type: "gap", event: null, lost: null });
    await state(one, "waiting");
    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 300_000);
    try {
      const second = await fake.link();
      second.greet();
      second.say({ type: "pong", id: (await second.next("ping")).id });
      if (!isSent) return await expect(published).rejects.toEqual(code("OUTCOME_UNKNOWN"));
      const again = await second.next("publish");
      expect(again.key).toBe(asked.key);
      second.say({ type: "response", id: again.id, result: { offset: 7 } });
      expect(await published).toBe(7);
    } finally {
      vi.restoreAllMocks();
    }
  });

  test("a refusal is an error with the gateway's code", async () => {
    const [one, link] = await opened();
    const offset = one.publish("orders", 1);
    const sent = await link.next("publish");
    link.say({ type: "error", id: sent.id, code: "FORBIDDEN", message: "not you", details: { x: 1 } });
    await expect(offset).rejects.toMatchObject({ code: "FORBIDDEN", message: "not you", remedy: "token", details: { x: 1 } });
  });

  test("a request that was sent on a lost connection fails, one that was not is sent", async () => {
    const [one, first] = await opened();
    const sent = one.request({ type: "app", data: 1 });
    await first.next("app");
    first.cut();
    await expect(sent).rejects.toEqual(code("OUTCOME_UNKNOWN"));
    const later = one.request({ type: "app", data: 2 });
    const second = await fake.link();
    second.greet();
    second.say({ type: "pong", id: (await second.next("ping")).id });
    const message = await second.next("app");
    second.say({ type: "response", id: message.id, result: 5 });
    expect(await later).toMatchObject({ result: 5 });
  });

  test("answers that are missing: the client connects anew and asks again", async () => {
    const [one, first] = await opened();
    const result = one.query("server_info");
    await first.next("query");
    first.say({ type: "gap", event: null, lost: 1 });
    const second = await fake.link();
    second.greet();
    second.say({ type: "pong", id: (await second.next("ping")).id });
    const again = await second.next("query");
    second.say({ type: "response", id: again.id, result: { name: "fake" } });
    expect(await result).toEqual({ name: "fake" });
  });

  test("a message that is too large is given up, and others are sent again", async () => {
    const [one, first] = await opened();
    const large = one.publish("orders", "x".repeat(1000));
    const small = one.publish("orders", "y");
    await first.next("publish");
    await first.next("publish");
    first.close(1009, "Message too large");
    await expect(large).rejects.toEqual(code("MESSAGE_TOO_LARGE"));
    const second = await fake.link();
    second.greet();
    second.say({ type: "pong", id: (await second.next("ping")).id });
    const again = await second.next("publish");
    expect(again.data).toBe("y");
    second.say({ type: "response", id: again.id, result: { offset: 2 } });
    expect(await small).toBe(2);
  });

  test("at most 1,000 wait, and a signal ends the waiting", async () => {
    const one = client(fake.url);
    const abort = new AbortController();
    const waiting = Array.from({ length: 1000 }, () => one.query("x", {}, { signal: abort.signal }).catch((e) => e));
    await expect(one.query("y")).rejects.toEqual(code("QUEUE_FULL"));
    abort.abort("enough");
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(["enough"]));
    await expect(one.query("y", {}, { signal: abort.signal })).rejects.toBe("enough");
  });

  test("data that is no JSON is the caller's error", async () => {
    const [one] = await opened();
    const circle: Record<string, unknown> = {};
    circle["self"] = circle;
    await expect(one.publish("orders", circle)).rejects.toThrow(TypeError);
  });
});

describe("subscriptions", () => {
  test("those of one turn are one message, and two to one name are one", async () => {
    const [one, link] = await opened();
    const subs = ["a", "b", "a"].map((name) => one.subscribe(name));
    one.subscribe("never").unsubscribe();
    const asked = await link.next("subscribe");
    expect(asked.events).toEqual(["a", "b"]);
    link.confirm(asked);
    await Promise.all(subs.map((sub) => sub.ready()));
    const third = one.subscribe("a");
    await third.ready();
    const got: unknown[] = [];
    for (const sub of [...subs, third]) sub.on("event", (event) => got.push(event.data));
    link.event("a", 1, "x");
    await until(() => got.length === 3);
    subs[0]!.unsubscribe();
    subs[2]!.unsubscribe();
    link.event("a", 2, "y");
    await until(() => got.length === 4);
    third.unsubscribe();
    expect(await link.next("unsubscribe")).toMatchObject({ events: ["a"] });
    expect(third.state).toBe("ended");
  });

  test("a second one with a place of its own has the topic begin there", async () => {
    const [one, link] = await opened();
    const first = one.subscribe("a");
    link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 5 } });
    await first.ready();
    const got: string[] = [];
    first.on("event", (event) => got.push(`first ${event.data}`));
    link.event("a", 6, 6);
    await until(() => got.length === 1);
    const second = one.subscribe("a", { since: "1-4" });
    second.on("event", (event) => got.push(`second ${event.data}`));
    await link.next("unsubscribe");
    const again = await link.next("subscribe");
    expect(again).toMatchObject({ events: ["a"], recover: { a: { epoch: "1", offset: "4" } } });
    link.confirm(again, { a: { epoch: 1, offset: 6, recovered: true, count: 2 } });
    for (const n of [5, 6, 7]) link.event("a", n, n);
    await until(() => got.length === 5);
    expect(got).toEqual(["first 6", "second 5", "second 6", "first 7", "second 7"]);
  });

  describe("the newest events of a topic that another one has", () => {
    const items: string[] = [];
    const note = (who: string, sub: Subscription) => {
      sub.on("event", ({ data }) => items.push(`${who} ${data}`));
      sub.on("gap", ({ lost }) => items.push(`${who} gap ${lost}`));
      return sub;
    };
    beforeEach(() => void (items.length = 0));

    async function flowing(): Promise<[Client, Link]> {
      const [one, link] = await opened();
      const first = note("first", one.subscribe("a"));
      link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 5 } });
      await first.ready();
      return [one, link];
    }

    test("come to the new one, and nothing twice to the other", async () => {
      const [one, link] = await flowing();
      note("second", one.subscribe("a", { last: 2 }));
      note("third", one.subscribe("a", { last: 1 }));
      await link.next("unsubscribe");
      link.event("a", 6, 6);
      // First what the other one misses.
      const first = await link.next("subscribe");
      expect(first.recover).toEqual({ a: { epoch: "1", offset: "5" } });
      link.confirm(first, { a: { epoch: 1, offset: 6, recovered: true, count: 1 } });
      await link.next("unsubscribe");
      const again = await link.next("subscribe");
      expect(again.recover).toEqual({ a: { last: 102 } });
      link.confirm(again, { a: { epoch: 1, offset: 7, recovered: true, count: 7 } });
      for (let n = 1; n <= 8; n++) link.event("a", n, n);
      await until(() => items.at(-1) === "third 8");
      // The newest one was the sixth when the third of them began.
      expect(items.splice(0, 3)).toEqual(["first 6", "second 6", "third 6"]);
      expect(items).toEqual(["first 7", "second 7", "third 7", "first 8", "second 8", "third 8"]);
    });

    test("tell the other what it misses", async () => {
      const [one, link] = await flowing();
      note("second", one.subscribe("a", { last: 2 }));
      link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 5, recovered: true, count: 0 } });
      link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 200, recovered: true, count: 102 } });
      for (let n = 99; n <= 201; n++) link.event("a", n, n);
      await until(() => items.at(-1) === "second 201");
      expect(items.slice(0, 2)).toEqual(["first gap 93", "first 99"]);
      expect(items.filter((item) => /second/.test(item))).toEqual(["second 199", "second 200", "second 201"]);
    });

    test("come with what the other is still missing", async () => {
      const [one, first] = await flowing();
      first.cut();
      await state(one, "waiting");
      const link = await fake.link();
      link.greet();
      link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 305, recovered: true, count: 300 } });
      link.event("a", 6, 6);
      await until(() => items.length === 1);
      note("second", one.subscribe("a", { last: 2 }));
      const again = await link.next("subscribe");
      expect(again.recover).toEqual({ a: { epoch: "1", offset: "6" } });
      link.confirm(again, { a: { epoch: 1, offset: 305, recovered: true, count: 299 } });
      for (let n = 7; n <= 305; n++) link.event("a", n, n);
      await until(() => items.at(-1) === "second 305");
      expect(items.filter((item) => /first/.test(item))).toEqual(Array.from({ length: 300 }, (_, n) => `first ${n + 6}`));
      expect(items.filter((item) => /second/.test(item))).toEqual(["second 304", "second 305"]);
    });

    test.each([
      [2, []],
      [4, ["unsubscribe", "subscribe"]],
    ])("are %i of those that the other missed meanwhile, or asked for then", async (last, then) => {
      const [one, first] = await flowing();
      first.cut();
      await state(one, "waiting");
      note("second", one.subscribe("a", { last }));
      const link = await fake.link();
      link.greet();
      const asked = await link.next();
      expect(asked.recover).toEqual({ a: { epoch: "1", offset: "5" } });
      link.confirm(asked, { a: { epoch: 1, offset: 8, recovered: true, count: 3 } });
      for (const n of [6, 7, 8]) link.event("a", n, n);
      for (const type of then) {
        const message = await link.next();
        expect(message.type).toBe(type);
        if (type === "unsubscribe") continue;
        expect(message.recover).toEqual({ a: { last: last + 100 } });
        link.confirm(message, { a: { epoch: 1, offset: 8, recovered: true, count: 8 } });
        for (let n = 1; n <= 8; n++) link.event("a", n, n);
      }
      await until(() => items.at(-1) === "second 8");
      const of = (who: string) => items.filter((item) => item.startsWith(who)).map((item) => Number(item.split(" ")[1]));
      expect(of("first")).toEqual([6, 7, 8]);
      expect(of("second")).toEqual([5, 6, 7, 8].slice(-last));
    });
  });

  test.each([
    ["confirmed", { events: ["a"], topics: { a: { epoch: 1, offset: 5 } } }],
    ["refused", { events: [], rejected: ["a"], topics: {} }],
  ])("a second one that wants the newest events has them, also where the first is being %s", async (_, sent) => {
    const [one, link] = await opened();
    one.subscribe("a");
    const asked = await link.next("subscribe");
    const second = one.subscribe("a", { last: 2 });
    const again = await link.next("subscribe");
    expect(again.recover).toEqual({ a: { last: 2 } });
    link.say({ type: "subscription_confirmed", id: asked.id, ...sent });
    link.confirm(again, { a: { epoch: 1, offset: 5, recovered: true, count: 2 } });
    for (const n of [4, 5]) link.event("a", n, n);
    const got: unknown[] = [];
    for await (const { data } of second) if (got.push(data) === 2) break;
    expect(got).toEqual([4, 5]);
  });

  test("a gap of a pattern is one of what is subscribed to by name, too", async () => {
    const [one, link] = await opened();
    const gaps: string[] = [];
    for (const name of ["room.*", "room.1", "room.*:x", "rooms", "user::events"]) {
      const sub = one.subscribe(name);
      sub.on("event", () => {});
      sub.on("gap", ({ topic, lost }) => gaps.push(`${name}: ${lost} of ${topic}`));
    }
    link.confirm(await link.next("subscribe"));
    link.say({ type: "gap", event: "room.*", lost: null });
    link.say({ type: "gap", event: "rooms", lost: 1 });
    await until(() => gaps.length === 4);
    const all = ["room.*: null of room.*", "room.1: null of room.1", "room.*:x: null of room.*:x", "rooms: 1 of rooms"];
    expect(gaps.splice(0)).toEqual(all);
    // One that follows a confirmation is of the pattern's own place. Others have theirs.
    link.cut();
    const second = await fake.link();
    second.greet();
    const place = { epoch: 1, offset: 0, recovered: true, count: 0 };
    const asked = await second.next("subscribe");
    const places = Object.fromEntries(asked.events.map((name: string) => [name, place]));
    second.confirm(asked, { ...places, "room.*": { epoch: 2, offset: 0, recovered: false } });
    second.say({ type: "gap", event: "room.*", lost: null });
    second.say({ type: "gap", event: "rooms", lost: 2 });
    await until(() => gaps.includes("rooms: 2 of rooms"));
    expect(gaps).toEqual(["room.*: null of room.*", "rooms: 2 of rooms"]);
  });

  test("a gap is told before what is newer, once, and the place is then the new one", async () => {
    const one = client(fake.url);
    const sub = one.subscribe<number>("a", { since: "1-4" });
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    link.confirm(asked, { a: { epoch: 2, offset: 9, recovered: false, count: 0 } });
    await sub.ready();
    expect(sub.position).toBe("1-4");
    link.say({ type: "gap", event: "a", lost: null });
    link.event("a", 10, 10, 2);
    const got: (Gap | TopicEvent<number>)[] = [];
    for await (const item of sub) if (got.push(item) === 2) break;
    expect(got).toMatchObject([
      { type: "gap", topic: "a", lost: null, reason: "gateway" },
      { type: "event", data: 10, position: "2-10" },
    ]);
    expect(sub.position).toBe("2-10");
  });

  test("a gap that nothing listens for is reported", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a");
    sub.on("event", () => {});
    const link = await fake.link();
    await link.open();
    link.say({ type: "gap", event: "a", lost: 3 });
    await until(() => errors.get(one)!.length === 1);
    expect(errors.get(one)).toEqual([code("GAP")]);
  });

  test("a place that the gateway does not confirm is a gap", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a", { since: "sse:cursor" });
    const gaps: Gap[] = [];
    sub.on("gap", (gap) => gaps.push(gap));
    sub.on("event", () => {});
    const link = await fake.link();
    const asked = await link.open();
    expect(asked.recover).toEqual({});
    await sub.ready();
    expect(gaps).toMatchObject([{ topic: "a", lost: null }]);
    expect(sub.position).toBe("1-0");
  });

  test("a pattern resumes with its own place and those of its topics", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a.*");
    const first = await fake.link();
    first.greet();
    first.confirm(await first.next("subscribe"), { "a.*": { epoch: 7, offset: 100 } });
    first.event("a.x", 3, "x3", 5);
    first.event("a.y", 1, "y1", 6);
    first.event("a.x", 4, "x4", 5);
    const got: unknown[] = [];
    sub.on("event", (event) => got.push(event.data));
    await until(() => got.length === 3);
    expect(JSON.parse(sub.position!)).toEqual({ "a.*": "7-100", "a.y": "6-1", "a.x": "5-4" });
    const saved = sub.position;
    first.cut();
    const second = await fake.link();
    second.greet();
    const asked = await second.next("subscribe");
    const recover = {
      "a.*": { epoch: "7", offset: "100" },
      "a.y": { epoch: "6", offset: "1" },
      "a.x": { epoch: "5", offset: "4" },
    };
    expect(asked.recover).toEqual(recover);
    second.confirm(asked, {
      "a.*": { epoch: 7, offset: 200, recovered: true, count: 0 },
      "a.x": { epoch: 5, offset: 4, recovered: true, count: 0 },
      "a.y": { epoch: 6, offset: 2, recovered: true, count: 1 },
      "a.z": { epoch: 8, offset: 1, recovered: true, count: 1 },
    });
    second.event("a.y", 2, "y2", 6);
    second.event("a.z", 1, "z1", 8);
    second.event("a.x", 4, "again", 5);
    second.event("a.x", 5, "x5", 5);
    await until(() => got.length === 6);
    expect(got.slice(3)).toEqual(["y2", "z1", "x5"]);
    expect(JSON.parse(sub.position!)).toMatchObject({ "a.*": "7-200", "a.z": "8-1" });
    // Another page goes on with what was saved.
    const other = client(fake.url);
    other.subscribe("a.*", { since: saved });
    const third = await fake.link();
    third.greet();
    expect((await third.next("subscribe")).recover).toEqual(recover);
  });

  test("of a pattern's topics the newest fifty are named", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a.*");
    const first = await fake.link();
    first.greet();
    first.confirm(await first.next("subscribe"), { "a.*": { epoch: 7, offset: 100 } });
    for (let n = 0; n < 60; n++) first.event(`a.${n}`, 1, n);
    let count = 0;
    sub.on("event", () => (count += 1));
    await until(() => count === 60);
    first.cut();
    const second = await fake.link();
    second.greet();
    const { recover } = await second.next("subscribe");
    expect(Object.keys(recover)).toHaveLength(50);
    expect(recover).toMatchObject({ "a.*": {}, "a.59": {}, "a.11": {} });
    expect(recover).not.toHaveProperty(["a.10"]);
  });

  test("a pattern's saved position repeats nothing of topics that are not named", async () => {
    const [one, link] = await opened();
    const topics = Array.from({ length: 60 }, (_, n) => `a.${n}`);
    const since = JSON.stringify({ "a.*": "7-100", ...Object.fromEntries(topics.map((topic) => [topic, "1-4"])) });
    const sub = one.subscribe("a.*", { since });
    const got: string[] = [];
    sub.on("event", ({ topic, data }) => got.push(`${topic} ${data}`));
    const asked = await link.next("subscribe");
    // Nothing is known of a.0 but what the pattern's own place brings back.
    const place = { epoch: 1, offset: 5, recovered: true };
    link.confirm(asked, {
      "a.*": { epoch: 7, offset: 200, recovered: true, count: 0 },
      "a.0": { ...place, count: 3 },
      "a.59": { ...place, count: 1 },
    });
    for (const offset of [3, 4, 5]) link.event("a.0", offset, offset);
    link.event("a.59", 5, 5);
    await until(() => got.includes("a.59 5"));
    expect(got).toEqual(["a.0 5", "a.59 5"]);
    // What is saved then has them all.
    const places = JSON.parse(sub.position!);
    expect(Object.keys(places)).toHaveLength(61);
    expect(places).toMatchObject({ "a.*": "7-200", "a.0": "1-5", "a.1": "1-4", "a.59": "1-5" });
  });

  test("topics beyond a thousand are forgotten, and that is told", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a.*");
    const gaps: Gap[] = [];
    sub.on("gap", (gap) => gaps.push(gap));
    const first = await fake.link();
    first.greet();
    first.confirm(await first.next("subscribe"), { "a.*": { epoch: 7, offset: 100 } });
    let count = 0;
    sub.on("event", () => (count += 1));
    for (let n = 0; n < 1100; n++) first.event(`a.${n}`, 1, n);
    await until(() => count === 1100);
    expect(sub.position).toBeUndefined();
    first.cut();
    const second = await fake.link();
    second.greet();
    const asked = await second.next("subscribe");
    expect(asked.recover).not.toHaveProperty(["a.*"]);
    second.confirm(asked, { "a.*": { epoch: 7, offset: 300 } });
    await until(() => gaps.length === 1);
    expect(gaps).toMatchObject([{ topic: "a.*", lost: null }]);
  });

  test("one that is rejected says so, and is asked for again on the next connection", async () => {
    const one = client(fake.url);
    const [good, bad] = [one.subscribe("good"), one.subscribe("bad")];
    const first = await fake.link();
    first.greet();
    const asked = await first.next("subscribe");
    first.say({ type: "subscription_confirmed", id: asked.id, events: ["good"], rejected: ["bad"], topics: {} });
    await good.ready();
    await expect(bad.ready()).rejects.toEqual(code("REJECTED"));
    expect(bad.state).toBe("rejected");
    await expect((async () => { for await (const _ of bad); })()).rejects.toEqual(code("REJECTED"));
    // Another one asks again.
    const other = one.subscribe("bad");
    const refused = await first.next("subscribe");
    expect(refused.events).toEqual(["bad"]);
    first.say({ type: "subscription_confirmed", id: refused.id, events: [], rejected: ["bad"], topics: {} });
    await expect(other.ready()).rejects.toEqual(code("REJECTED"));
    first.cut();
    const second = await fake.link();
    await second.open();
    await good.ready();
  });

  test("a gateway that recovers fewer topics than fifty is asked for fewer", async () => {
    const one = client(fake.url);
    const subs = ["a", "b", "c"].map((name) => one.subscribe(name, { since: "1-0" }));
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    expect(Object.keys(asked.recover)).toHaveLength(3);
    link.say({ type: "error", id: asked.id, code: "SUBSCRIPTION_LIMIT", message: "-", details: { limit: 2 } });
    const again = await link.next("subscribe");
    expect(Object.keys(again.recover)).toHaveLength(2);
    link.confirm(again);
    await Promise.all(subs.map((sub) => sub.ready()));
  });

  test("each of more than fifty names goes on from its place", async () => {
    const one = client(fake.url);
    const subs = Array.from({ length: 60 }, (_, n) => one.subscribe(`a.${n}`, { since: "1-0" }));
    const link = await fake.link();
    const asked = await link.open();
    expect(Object.keys(asked.recover)).toHaveLength(60);
    await Promise.all(subs.map((sub) => sub.ready()));
  });

  test("an error about one name comes before the confirmation of the others", async () => {
    const one = client(fake.url);
    const [good, bad] = [one.subscribe("good"), one.subscribe("*")];
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    link.say({ type: "error", id: asked.id, code: "FORBIDDEN", message: "across namespaces" });
    link.say({ type: "subscription_confirmed", id: asked.id, events: ["good"], rejected: ["*"], topics: {} });
    await good.ready();
    await expect(bad.ready()).rejects.toEqual(code("FORBIDDEN"));
  });

  test("an error after which nothing comes rejects every name of the message", async () => {
    const one = client(fake.url);
    const subs = ["a", "b"].map((name) => one.subscribe(name));
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    link.say({ type: "error", id: asked.id, code: "INVALID_MESSAGE", message: "-" });
    for (const sub of subs) await expect(sub.ready()).rejects.toEqual(code("INVALID_MESSAGE"));
    expect(one.state).toBe("open");
  });

  test("a subscription over a rate is asked for again", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a");
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    link.say({ type: "error", id: asked.id, code: "RATE_LIMIT_EXCEEDED", message: "-", details: { retry_after: 0.01 } });
    link.confirm(await link.next("subscribe"));
    await sub.ready();
    expect(one.state).toBe("open");
  });

  const overRate = { type: "error", code: "RATE_LIMIT_EXCEEDED", message: "-", details: { retry_after: 0.01 } };

  test("the end of one that is over a rate comes before it is called for again, and not behind it", async () => {
    const [one, link] = await opened();
    link.answersUnsubscribe = false;
    const first = one.subscribe("a");
    link.confirm(await link.next("subscribe"));
    await first.ready();
    first.unsubscribe();
    const refused = await link.next();
    expect(refused.type).toBe("unsubscribe");
    const second = one.subscribe("a");
    link.say({ ...overRate, id: refused.id });
    const ended = await link.next();
    expect(ended.type).toBe("unsubscribe");
    expect(second.state).toBe("pending");
    link.say({ type: "unsubscribed", id: ended.id });
    const asked = await link.next();
    expect(asked).toMatchObject({ type: "subscribe", events: ["a"] });
    link.confirm(asked);
    await second.ready();
  });

  test("one that is over a rate is not called for any more once it has ended", async () => {
    const [one, link] = await opened();
    const [first, other] = [one.subscribe("a"), one.subscribe("b")];
    const asked = await link.next("subscribe");
    expect(asked.events).toEqual(["a", "b"]);
    link.say({ ...overRate, id: asked.id });
    first.unsubscribe();
    expect(await link.next()).toMatchObject({ type: "unsubscribe", events: ["a"] });
    const again = await link.next();
    expect(again).toMatchObject({ type: "subscribe", events: ["b"] });
    link.confirm(again);
    await other.ready();
    const third = one.subscribe("a");
    link.confirm(await link.next("subscribe"));
    await third.ready();
  });

  test("one that begins a topic anew and ends at once leaves the other one with its events", async () => {
    const [one, link] = await opened();
    const first = one.subscribe("a");
    link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 5 } });
    await first.ready();
    const got: unknown[] = [];
    first.on("event", ({ data }) => got.push(data));
    link.answersUnsubscribe = false;
    const second = one.subscribe("a", { last: 2 });
    const left = await link.next("unsubscribe");
    second.unsubscribe();
    link.say({ type: "unsubscription_confirmed", id: left.id, events: ["a"] });
    const again = await link.next("subscribe");
    expect(again).toMatchObject({ events: ["a"], recover: { a: { epoch: "1", offset: "5" } } });
    link.confirm(again, { a: { epoch: 1, offset: 6, recovered: true, count: 1 } });
    for (const n of [6, 7]) link.event("a", n, n);
    await until(() => got.length === 2);
    expect(got).toEqual([6, 7]);
  });

  test.each([
    ["is ended", (sub: Subscription) => sub.unsubscribe()],
    ["is a loop that is left", async (sub: Subscription) => void (await sub[Symbol.asyncIterator]().return!())],
  ])("one that takes the place of another, which %s in the same turn, has its events", async (_, end) => {
    const [one, link] = await opened();
    const first = one.subscribe("a");
    link.confirm(await link.next("subscribe"));
    await first.ready();
    const second = one.subscribe("a");
    void end(first);
    link.confirm(await link.next("subscribe"));
    await second.ready();
    const got = new Promise((done) => second.on("event", ({ data }) => done(data)));
    link.event("a", 1, "x");
    expect(await got).toBe("x");
  });

  test.each([Infinity, NaN, -3, 2.5])("a `last` of %d is made a whole number", async (last) => {
    const [one, link] = await opened();
    one.subscribe("a", { last });
    const { recover } = await link.next("subscribe");
    expect(recover).toEqual({ Infinity: { a: { last: 1e9 } }, "2.5": { a: { last: 2 } } }[String(last)] ?? {});
  });

  test("many names go in several messages, each no larger than the gateway takes", async () => {
    const one = client(fake.url);
    const subs = Array.from({ length: 900 }, (_, n) => one.subscribe(`name.${n}`));
    const link = await fake.link();
    link.greet();
    const sizes: number[] = [];
    while (subs.some(({ state }) => state === "pending")) {
      const asked = await link.next("subscribe");
      sizes.push(asked.events.length);
      link.confirm(asked);
      await one.query("any", {}, { signal: AbortSignal.timeout(10) }).catch(() => {});
    }
    expect(sizes).toEqual([200, 200, 200, 200, 100]);
  });

  test("what was called for while all were refused is asked for", async () => {
    const one = client(fake.url);
    const first = one.subscribe("a");
    const link = await fake.link();
    link.greet();
    const asked = await link.next("subscribe");
    const second = one.subscribe("b");
    link.say({ type: "error", id: asked.id, code: "INVALID_MESSAGE", message: "-" });
    await expect(first.ready()).rejects.toEqual(code("INVALID_MESSAGE"));
    link.confirm(await link.next("subscribe"));
    await second.ready();
  });

  test("a gap that is told while a message is made does not have it sent again", async () => {
    const [one, link] = await opened();
    const flowing = one.subscribe("a");
    link.confirm(await link.next("subscribe"), { a: { epoch: 5, offset: 10 } });
    await flowing.ready();
    const saved = one.subscribe("a", { since: "sse:c1" });
    let gaps = 0;
    saved.on("event", () => {});
    saved.on("gap", () => {
      gaps += 1;
      one.query("history", { event: "a" }).catch(() => {});
    });
    await link.next("unsubscribe");
    const types = [(await link.next()).type, (await link.next()).type];
    expect(types.sort()).toEqual(["query", "subscribe"]);
    expect(gaps).toBe(1);
  });

  test("a gap in what a topic of a pattern missed loses nothing behind it", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("room.*");
    const got: unknown[] = [];
    sub.on("event", ({ data }) => got.push(data));
    sub.on("gap", ({ lost }) => got.push(`gap ${lost}`));
    const first = await fake.link();
    first.greet();
    first.confirm(await first.next("subscribe"), { "room.*": { epoch: 9, offset: 100 } });
    first.event("room.1", 10, 10);
    await until(() => got.length === 1);
    first.cut();
    const second = await fake.link();
    second.greet();
    const place = { epoch: 1, offset: 14, recovered: true, count: 4 };
    second.confirm(await second.next("subscribe"), { "room.*": { epoch: 9, offset: 200, recovered: true, count: 0 }, "room.1": place });
    second.event("room.1", 11, 11);
    second.say({ type: "gap", event: "room.1", lost: 1 });
    for (const n of [13, 14, 15]) second.event("room.1", n, n);
    await until(() => got.length === 6);
    expect(got).toEqual([10, 11, "gap 1", 13, 14, 15]);
    expect(JSON.parse(sub.position!)).toEqual({ "room.*": "9-200", "room.1": "1-15" });
  });

  test("an announced gap leads to where the topic is, also where that is behind the client", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a", { since: "5-17" });
    const got: unknown[] = [];
    sub.on("event", ({ data }) => got.push(data));
    sub.on("gap", ({ lost }) => got.push(`gap ${lost}`));
    const link = await fake.link();
    link.greet();
    link.confirm(await link.next("subscribe"), { a: { epoch: 5, offset: 1, recovered: false } });
    link.say({ type: "gap", event: "a", lost: null });
    link.event("a", 2, 2);
    await until(() => got.length === 2);
    expect(got).toEqual(["gap null", 2]);
  });

  test("a pattern's own place holds until what its topics missed has come", async () => {
    const one = client(fake.url);
    const names = Array.from({ length: 60 }, (_, n) => `room.${n}`);
    const sub = one.subscribe("room.*");
    sub.on("event", () => {});
    const first = await fake.link();
    const places = (offset: number, more = {}) =>
      Object.fromEntries(names.map((name) => [name, { epoch: 1, offset, ...more }]));
    first.greet();
    first.confirm(await first.next("subscribe"), { "room.*": { epoch: 9, offset: 100 } });
    for (const name of names) first.event(name, 10, 10);
    await until(() => !!sub.position?.includes("room.59"));
    first.cut();
    const second = await fake.link();
    second.greet();
    const asked = await second.next("subscribe");
    expect(asked.recover["room.*"]).toEqual({ epoch: "9", offset: "100" });
    const came = { recovered: true, count: 1 };
    second.confirm(asked, { "room.*": { epoch: 9, offset: 200, ...came, count: 0 }, ...places(11, came) });
    // All but one come before the connection is lost.
    for (const name of names.slice(1)) second.event(name, 11, 11);
    await until(() => JSON.parse(sub.position!)["room.59"] === "1-11");
    expect(JSON.parse(sub.position!)["room.*"]).toBe("9-100");
    second.cut();
    const third = await fake.link();
    third.greet();
    const again = await third.next("subscribe");
    expect(again.recover["room.*"]).toEqual({ epoch: "9", offset: "100" });
    third.confirm(again, { "room.*": { epoch: 9, offset: 300, ...came, count: 0 }, ...places(11, came) });
    third.event("room.0", 11, 11);
    await until(() => JSON.parse(sub.position!)["room.0"] === "1-11");
    expect(JSON.parse(sub.position!)["room.*"]).toBe("9-300");
  });

  test("all of those over a rate may have ended when it may be asked again", async () => {
    const [one, link] = await opened();
    const sub = one.subscribe("a");
    const asked = await link.next("subscribe");
    link.say({ ...overRate, id: asked.id });
    sub.unsubscribe();
    await link.next("unsubscribe");
    const empty = await link.next();
    expect(empty.type).toBe("ping");
    link.say({ type: "pong", id: empty.id });
    const next = one.subscribe("b");
    link.confirm(await link.next("subscribe"));
    await next.ready();
    expect(one.state).toBe("open");
  });

  test("a buffer that is full drops the oldest and counts them in a gap", async () => {
    const one = client(fake.url);
    const sub = one.subscribe<number>("a", { buffer: 3 });
    const loop = sub[Symbol.asyncIterator]();
    const link = await fake.link();
    await link.open();
    for (let n = 1; n <= 8; n++) link.event("a", n, n);
    link.say({ type: "broadcast" });
    await new Promise<void>((done) => one.on("message", () => done()));
    expect(sub.position).toBe("1-0");
    const items = [(await loop.next()).value];
    expect(sub.position).toBe("1-5");
    for (let n = 0; n < 3; n++) items.push((await loop.next()).value);
    expect(items).toMatchObject([{ type: "gap", lost: 5, reason: "buffer" }, { data: 6 }, { data: 7 }, { data: 8 }]);
    expect(sub.position).toBe("1-8");
  });

  test("a buffer of one has the newest", async () => {
    const one = client(fake.url);
    const sub = one.subscribe<number>("a", { buffer: 1 });
    const link = await fake.link();
    await link.open();
    for (let n = 1; n <= 3; n++) link.event("a", n, n);
    link.say({ type: "gap", event: "a", lost: null });
    link.event("a", 9, 9);
    link.say({ type: "broadcast" });
    await new Promise<void>((done) => one.on("message", () => done()));
    const loop = sub[Symbol.asyncIterator]();
    expect([(await loop.next()).value, (await loop.next()).value]).toMatchObject([
      { type: "gap", lost: null },
      { data: 9 },
    ]);
  });

  test("a buffer that is full may end the subscription", async () => {
    const one = client(fake.url);
    const sub = one.subscribe<number>("a", { buffer: 2, overflow: "end" });
    const link = await fake.link();
    await link.open();
    for (let n = 1; n <= 3; n++) link.event("a", n, n);
    await until(() => sub.state === "ended");
    await expect(sub.ready()).rejects.toEqual(code("BUFFER_FULL"));
    await link.next("unsubscribe");
  });

  test("leaving a loop unsubscribes, and close() ends loops", async () => {
    const one = client(fake.url);
    const [left, ended] = [one.subscribe("a"), one.subscribe("b")];
    const link = await fake.link();
    await link.open();
    link.event("a", 1, 1);
    for await (const _ of left) break;
    expect(left.state).toBe("ended");
    await link.next("unsubscribe");
    const loop = (async () => {
      for await (const _ of ended);
      return "done";
    })();
    one.close();
    expect(await loop).toBe("done");
  });

  test("loops end with the reason why the client gave up", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a");
    const loop = (async () => {
      for await (const _ of sub);
    })();
    const link = await fake.link();
    await link.open();
    link.close(1008, "Blocked");
    await expect(loop).rejects.toThrow("Blocked");
  });

  test("presence comes to the topic's subscriptions", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("room.1");
    const link = await fake.link();
    await link.open();
    const changes: unknown[] = [];
    sub.on("presence", (change) => changes.push(change));
    link.say({ type: "presence", event: "room.1", data: { action: "join", users: 1, user: "ann" }, presence_seq: 4 });
    await until(() => changes.length === 1);
    expect(changes).toEqual([{ topic: "room.1", action: "join", users: 1, user: "ann", seq: 4 }]);
  });

  test("an event that is called otherwise belongs to its topic", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("orders");
    const link = await fake.link();
    await link.open();
    link.say({ type: "event", event: "order.paid", topic: "orders", data: 1, event_id: "1-1", publisher: "ann" });
    for await (const event of sub) {
      expect(event).toMatchObject({ name: "order.paid", topic: "orders", publisher: "ann" });
      break;
    }
  });
});

describe("tokens", () => {
  test("one callback, told why; a static one that ends is the end", async () => {
    const reasons: string[] = [];
    const one = client(fake.url, { token: ({ reason }: { reason: string }) => `t${reasons.push(reason)}` });
    const greet = (link: Link) => link.greet({ user: "ann" });
    const first = await fake.link();
    expect(first.headers["sec-websocket-protocol"]).toBe("bearer,t1");
    greet(first);
    first.cut();
    const second = await fake.link();
    expect(second.headers["sec-websocket-protocol"]).toBe("bearer,t1"); // it is good still
    second.close(4002, "Token expired");
    const third = await fake.link();
    expect(third.headers["sec-websocket-protocol"]).toBe("bearer,t2");
    third.close(1008, "Authentication failed");
    const fourth = await fake.link();
    expect(reasons).toEqual(["first", "expired", "refused"]);
    greet(fourth);
    one.close();

    const two = client(fake.url, { token: "static" });
    (await fake.link()).close(4002, "Token expired");
    await state(two, "ended");
    expect(two.status.error).toMatchObject({ code: "AUTHENTICATION_FAILED", remedy: "token" });
  });

  test("a callback that throws, rejects or gives what is no token is asked again", async () => {
    const gives: (() => any)[] = [
      () => {
        throw new Error("offline");
      },
      () => Promise.reject(new Error("503")),
      () => "no header can have this",
      () => "good",
    ];
    const seen: (string | undefined)[] = [];
    const one = client(fake.url, { token: () => gives.shift()!() });
    one.on("state", ({ state, error }) => state === "waiting" && seen.push(error?.code));
    const link = await fake.link();
    expect(link.headers["sec-websocket-protocol"]).toBe("bearer,good");
    expect(seen).toEqual(["TOKEN", "TOKEN", "CONNECTION_LOST"]);
  });

  test("null after a refusal is the end; authenticate() begins again", async () => {
    const reasons: string[] = [];
    const one = client(fake.url, {
      token: ({ reason }: { reason: string }) => {
        reasons.push(reason);
        return reason === "refused" ? null : "t";
      },
    });
    (await fake.link()).close(1008, "Authentication failed");
    await state(one, "ended");
    expect(one.status.error).toMatchObject({ code: "TOKEN" });
    one.authenticate();
    (await fake.link()).greet({ user: "ann" });
    expect(reasons).toEqual(["first", "refused", "requested"]);
  });

  test("a token is renewed on the connection before it ends", async () => {
    let count = 0;
    const one = client(fake.url, { token: () => `t${++count}` });
    const link = await fake.link();
    const timestamp = "2026-11-30T00:00:00.000Z";
    link.greet({ user: "ann", timestamp, expires_at: "2026-11-30T00:00:00.100Z" });
    link.say({ type: "pong", id: (await link.next("ping")).id });
    const asked = await link.next("authenticate");
    expect(asked.token).toBe("t2");
    link.say({ type: "authenticated", id: asked.id, timestamp, expires_at: "2026-11-30T00:00:00.100Z" });
    expect((await link.next("authenticate")).token).toBe("t3");
    expect(fake.links).toHaveLength(1);
    expect(one.state).toBe("open");
  });

  test("a renewal that is refused leaves the connection; the end of the token asks anew", async () => {
    const reasons: string[] = [];
    client(fake.url, { token: ({ reason }: { reason: string }) => `t${reasons.push(reason)}` });
    const link = await fake.link();
    const timestamp = "2026-11-30T00:00:00.000Z";
    link.greet({ user: "ann", timestamp, expires_at: "2026-11-30T00:00:00.050Z" });
    link.say({ type: "pong", id: (await link.next("ping")).id });
    const asked = await link.next("authenticate");
    link.say({ type: "error", id: asked.id, code: "AUTHENTICATION_FAILED", message: "no" });
    link.close(4002, "Token expired");
    expect((await fake.link()).headers["sec-websocket-protocol"]).toBe("bearer,t3");
    expect(reasons).toEqual(["first", "expired", "expired"]);
  });

  /** What `token` answers with, by the reason that it was asked for. */
  const slowTokens = () => {
    const asked: { reason: string; answer: (token: string | null) => void; fail: (error: Error) => void }[] = [];
    const token = ({ reason }: { reason: string }) =>
      new Promise<string | null>((answer, fail) => asked.push({ reason, answer, fail }));
    return { asked, token };
  };

  test("a token that was asked for before a logout is not that of the next connection", async () => {
    const { asked, token } = slowTokens();
    const one = client(fake.url, { token });
    await until(() => asked.length === 1);
    one.authenticate();
    await until(() => asked.length === 2);
    asked[1]!.answer("bob's");
    const first = await fake.link();
    expect(first.headers["sec-websocket-protocol"]).toBe("bearer,bob's");
    asked[0]!.answer("ann's");
    await Promise.resolve();
    first.cut();
    expect((await fake.link()).headers["sec-websocket-protocol"]).toBe("bearer,bob's");
    expect(asked.map(({ reason }) => reason)).toEqual(["first", "requested"]);
  });

  test.each<["fails" | "says no" | "is slow"]>([["fails"], ["says no"], ["is slow"]])(
    "a renewal that %s after a login changes nothing",
    async (how) => {
      const { asked, token } = slowTokens();
      const one = client(fake.url, { token });
      await until(() => asked.length === 1);
      asked[0]!.answer("ann's");
      const first = await fake.link();
      const [timestamp, expires_at] = [0, 20].map((ms) => new Date(ms).toISOString());
      first.greet({ user: "ann", timestamp, expires_at });
      await until(() => asked.length === 2);
      expect(asked[1]!.reason).toBe("expired");
      one.authenticate();
      await until(() => asked.length === 3);
      asked[2]!.answer("bob's");
      const second = await fake.link();
      second.greet();
      if (how === "fails") asked[1]!.fail(new Error("no"));
      else asked[1]!.answer(how === "is slow" ? "ann's" : null);
      await new Promise((done) => setImmediate(done));
      second.cut();
      expect((await fake.link()).headers["sec-websocket-protocol"]).toBe("bearer,bob's");
      expect(asked).toHaveLength(3);
    },
  );

  test("a renewal that is due after authenticate() is not made", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    try {
      const { asked, token } = slowTokens();
      const one = client(fake.url, { token });
      await vi.waitUntil(() => asked.length === 1, { timeout: 10_000 });
      asked[0]!.answer("ann's");
      const first = await fake.link();
      const [timestamp, expires_at] = [0, 20_000].map((ms) => new Date(ms).toISOString());
      first.greet({ user: "ann", timestamp, expires_at });
      await first.next("ping");
      one.authenticate(() => (asked.push(null!), null));
      vi.advanceTimersByTime(15_000);
      await fake.link();
      expect(asked).toHaveLength(2);
    } finally {
      vi.useRealTimers();
    }
  });

  test("login and logout without a new client", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a");
    const first = await fake.link();
    expect(first.headers["sec-websocket-protocol"]).toBeUndefined();
    await first.open();
    await sub.ready();
    one.authenticate("ann's");
    const second = await fake.link();
    expect(second.headers["sec-websocket-protocol"]).toBe("bearer,ann's");
    second.greet({ user: "ann" });
    const asked = await second.next("subscribe");
    expect(asked.recover).toEqual({ a: { epoch: "1", offset: "0" } });
    second.confirm(asked, { a: { epoch: 1, offset: 0, recovered: true, count: 0 } });
    await sub.ready();
    expect(one.session).toMatchObject({ user: "ann" });
    // Out.
    one.authenticate(null);
    const third = await fake.link();
    expect(third.headers["sec-websocket-protocol"]).toBeUndefined();
  });
});

describe("the inbox", () => {
  test("goes on where it was, and says when that is not known", async () => {
    const one = client(fake.url, { token: "t" });
    const inbox = one.inbox();
    const items: (Gap | TopicEvent)[] = [];
    inbox.on("event", (event) => items.push(event));
    inbox.on("gap", (gap) => items.push(gap));
    const open = async () => {
      const link = await fake.link();
      link.greet({ user: "ann" });
      link.say({ type: "pong", id: (await link.next("ping")).id });
      await state(one, "open");
      return link;
    };
    const first = await open();
    expect(inbox.state).toBe("active");
    first.cut();
    await state(one, "waiting");
    const second = await open();
    expect(items).toMatchObject([{ type: "gap", lost: null }]);
    const event = { type: "event", event: "invoice", topic: "user:ann:events", data: 1 };
    second.say({ ...event, event_id: "5-1" });
    await until(() => items.length === 2);
    expect(inbox.position).toBe("5-1");
    second.cut();
    await state(one, "waiting");
    const third = await open();
    expect(third.path).toContain("inbox_after=5-1");
    third.say({ ...event, event_id: "5-1" });
    third.say({ ...event, event_id: "5-2" });
    third.say({ type: "gap", event: "user:ann:events", lost: null });
    await until(() => items.length === 4);
    expect(items.slice(1)).toMatchObject([{ position: "5-1" }, { position: "5-2" }, { type: "gap" }]);
  });

  test.each([
    ["1-9", "1-4", "1-4", 0],
    ["1-4", "1-9", "1-4", 0],
    ["1-9", "2-4", "2-4", 0],
    ["1-9", "sse:other", "1-9", 1],
  ])("two that go on from %s and %s: from %s, and gaps are %i", async (first, second, place, gaps) => {
    const one = client(fake.url, { token: "t" });
    const got: Gap[] = [];
    for (const since of [first, second]) {
      const inbox = one.inbox({ since });
      inbox.on("event", () => {});
      inbox.on("gap", (gap) => got.push(gap));
    }
    const link = await fake.link();
    expect(link.path).toContain(`inbox_after=${place}`);
    expect(got).toHaveLength(gaps);
  });
});
