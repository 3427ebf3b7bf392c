// Streams of events that a real gateway does not send.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Client, Gap, Status, TopicEvent } from "../../src/core/index.js";
import { client, errors, state, until } from "../support/client.js";
import { FakeGateway, type Request, answer } from "../support/fake.js";

let fake: FakeGateway;
/** Requests that came, in their order; each answered by the next of these, the last one again and again. */
let requests: Request[];
let answers: ((request: Request) => void)[];
/** What asks whether the gateway is there, and how that is answered. */
let asked: number;
let health: (request: Request) => void;
beforeEach(async () => {
  fake = await FakeGateway.start();
  requests = [];
  answers = [];
  asked = 0;
  health = ends(answer(200, "{}"));
  fake.onRequest = (request) => {
    if (request.path === "/api/v1/health") {
      asked += 1;
      return health(request);
    }
    requests.push(request);
    (answers.length > 1 ? answers.shift()! : answers[0]!)(request);
  };
});
afterEach(() => fake.stop());

const stream = (...text: string[]) => `HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n${text.join("")}`;
const begin = "retry: 5\nid: c0\n";
const event = (n: number) => `id: c${n}\nevent: news\ndata: ${n}\n\n`;
const says = (text: string) => ({ socket }: Request) => void socket.write(text);
const ends = (text: string) => ({ socket }: Request) => void socket.end(text);

function follow(options = {}): { one: Client; items: (Gap | TopicEvent)[] } {
  const one = client(fake.url, { transports: ["sse"], ...options });
  const items: (Gap | TopicEvent)[] = [];
  const sub = one.subscribe("news", { last: 3 });
  sub.on("event", (item) => items.push(item));
  sub.on("gap", (item) => items.push(item));
  return { one, items };
}

const query = (request: Request) => Object.fromEntries(new URL(request.path, "http://x").searchParams);

test("an event that is cut is not one, and the stream goes on from the last whole one", async () => {
  answers = [ends(stream(begin, event(1), "id: c2\nevent: news\nda")), ends(stream("id: c1\n", "id: c2\n")), says(stream("id: c1\n", event(2)))];
  const { one, items } = follow();
  await until(() => items.length === 2);
  expect(items).toMatchObject([
    { data: 1, position: "sse:c1" },
    { data: 2, position: "sse:c2" },
  ]);
  expect(requests.map(query)).toEqual([
    { topics: "news", last: "3" },
    { topics: "news", last_event_id: "c1" },
    { topics: "news", last_event_id: "c1" },
  ]);
  expect(errors.get(one)).toEqual([]);
});

test("a stream that ends before its first event goes on from where it began", async () => {
  answers = [ends(stream(begin)), says(stream("id: c0\n", event(1)))];
  const { items } = follow();
  await until(() => items.length === 1);
  expect(query(requests[1]!)).toMatchObject({ last_event_id: "c0" });
});

test("one that never said where it was is a gap", async () => {
  answers = [ends(stream(": nothing\n")), says(stream(event(1)))];
  const { items } = follow();
  await until(() => items.length === 2);
  expect(items).toMatchObject([{ type: "gap", lost: null }, { data: 1 }]);
});

test("gaps, presence, lines of other ends, fields that are not known, and data of several lines", async () => {
  answers = [
    says(
      stream(
        "id: c0\r\n",
        ": a comment\r\nid: c1\r\nevent: news\r\nfuture: 1\r\nnothing\r\ndata: [1,\r\ndata: 2]\r\n\r\n",
        'event: presence\ndata: {"event":"news","data":{"action":"join","user":"ann","users":1},"presence_seq":3}\n\n',
        'id: c9\nevent: gap\ndata: {"event":"news","lost":8,"reason":"not_in_history"}\n\n',
        'event: gap\ndata: {"event":"news","lost":null,"reason":"slow_consumer"}\n\n',
        "id: c10\nevent: order.paid\ndata: 10\n\n",
      ),
    ),
  ];
  const { items } = follow();
  await until(() => items.length === 4);
  expect(items).toMatchObject([
    { data: [1, 2] },
    { type: "gap", topic: "news", lost: 8 },
    { type: "gap", lost: null },
    { name: "order.paid", topic: "news", data: 10, position: "sse:c10" },
  ]);
});

test.each([
  ["data that is no JSON", stream(begin, "id: c1\nevent: news\ndata: {\n\n")],
  ["a gap that is none", stream(begin, "event: gap\ndata: null\n\n")],
  ["a page of a proxy", answer(200, "<html>", { "content-type": "text/html" })],
  ["a proxy's 502", answer(502, "<html>")],
  ["nonsense", "nonsense\r\n\r\n"],
  ["nothing", ""],
])("%s costs a connection and no more", async (_, broken) => {
  answers = [ends(broken), says(stream(begin, event(1)))];
  const { one, items } = follow();
  await until(() => items.some(({ data }) => data === 1));
  expect(one.state).toBe("open");
});

test("a gateway that is full says when to come back", async () => {
  answers = [ends(answer(503, '{"detail":"full"}', { "retry-after": "7" }))];
  const { one } = follow();
  await state(one, "waiting");
  expect(one.status.delay).toBeGreaterThanOrEqual(7000);
  expect(one.status.error).toMatchObject({ code: "CONNECTION_LOST", details: { code: 1013 } });
});

test("publications are sent until they are accepted, with one key", async () => {
  answers = [
    says(stream(begin)),
    ({ socket }) => socket.destroy(),
    says(stream(begin)),
    ends(answer(503, "", { "retry-after": "0.01" })),
    ends(answer(202, '{"offset":7}')),
  ];
  const { one } = follow();
  await state(one, "open");
  expect(await one.publish("news", { n: 1 })).toBe(7);
  const bodies = requests.filter(({ method }) => method === "POST").map(({ body }) => JSON.parse(body));
  expect(bodies).toHaveLength(3);
  expect(bodies[0]).toMatchObject({ topic: "news", payload: { n: 1 } });
  expect(new Set(bodies.map(({ id }) => id)).size).toBe(1);
});

test("publications keep their order, also over one that is refused for now", async () => {
  const { one } = follow();
  answers = [says(stream(begin))];
  await state(one, "open");
  const bodies: unknown[] = [];
  const waiting: Request[] = [];
  answers = [(request) => (bodies.push(JSON.parse(request.body).payload), waiting.push(request))];
  const offsets = Promise.all([1, 2, 3].map((n) => one.publish("news", n)));
  const accept = async (text: string) => {
    await until(() => waiting.length === 1);
    waiting.shift()!.socket.end(text);
  };
  await accept(answer(202, '{"offset":1}'));
  await accept(answer(503, "", { "retry-after": "0.01" }));
  await accept(answer(202, '{"offset":2}'));
  await accept(answer(202, '{"offset":3}'));
  expect(await offsets).toEqual([1, 2, 3]);
  expect(bodies).toEqual([1, 2, 2, 3]);
});

test("a publication whose token has ended is sent again with another one", async () => {
  const reasons: string[] = [];
  const token = ({ reason }: { reason: string }) => (reasons.push(reason), `t${reasons.length}`);
  const { one } = follow({ token });
  answers = [says(stream(begin)), ends(answer(401, '{"detail":"expired"}')), says(stream(begin)), ends(answer(202, '{"offset":7}'))];
  await state(one, "open");
  expect(await one.publish("news", 1, { key: "k" })).toBe(7);
  expect(reasons).toEqual(["first", "refused"]);
  const posts = requests.filter(({ method }) => method === "POST");
  expect(posts.map(({ headers, body }) => [headers["authorization"], JSON.parse(body).id])).toEqual([
    ["Bearer t1", "k"],
    ["Bearer t2", "k"],
  ]);
});

test.each([
  [401, "FORBIDDEN"],
  [403, "FORBIDDEN"],
  [413, "MESSAGE_TOO_LARGE"],
  [422, "INVALID_MESSAGE"],
])("a publication that is refused with %i is %s", async (status, code) => {
  answers = [says(stream(begin)), ends(answer(status, '{"detail":"no"}'))];
  const { one } = follow();
  await state(one, "open");
  await expect(one.publish("news", 1)).rejects.toMatchObject({ code });
});

test("topics have a stream each, as many as may be", async () => {
  answers = [says(stream(begin))];
  const one = client(fake.url, { transports: ["sse"], streamsMax: 2 });
  const subs = ["a", "b", "c", "d.*"].map((name) => one.subscribe(name));
  await Promise.all(subs.slice(0, 2).map((sub) => sub.ready()));
  await expect(subs[2]!.ready()).rejects.toMatchObject({ code: "REJECTED" });
  await expect(subs[3]!.ready()).rejects.toMatchObject({ code: "REJECTED" });
  expect(requests.map(query)).toEqual([{ topics: "a" }, { topics: "b" }]);
  // Room is made.
  const closed = new Promise((done) => requests[0]!.socket.on("close", done));
  subs[0]!.unsubscribe();
  await closed;
  await one.subscribe("c").ready();
  expect(subs[2]!.state).toBe("active");
});

test("subscriptions that come and go leave no requests behind", async () => {
  answers = [says(stream(begin))];
  const { one } = follow();
  await state(one, "open");
  for (let n = 0; n < 5000; n++) {
    const sub = one.subscribe("a.*");
    await Promise.resolve();
    sub.unsubscribe();
  }
  answers = [ends(answer(202, '{"offset":7}'))];
  expect(await one.publish("news", 1)).toBe(7);
});

test("it is not open before the gateway has answered", async () => {
  health = ends(answer(502, "<html>"));
  const one = client(fake.url, { transports: ["sse"] });
  const seen: Status[] = [];
  one.on("state", (status) => seen.push(status));
  await until(() => asked === 3);
  expect(seen.map(({ state }) => state)).not.toContain("open");
  expect(seen.find(({ error }) => error)?.error).toMatchObject({ code: "CONNECTION_LOST", message: "502: <html>" });
  health = ends(answer(404, "A proxy keeps it to itself"));
  await state(one, "open");
});

const refusal = answer(403, "");

test.each<[string, () => void]>([
  ["nothing answers", () => (health = ({ socket }) => socket.destroy())],
  ["streams fail", () => (answers = [ends(answer(502, "<html>"))])],
])("where %s over SSE either, a WebSocket is tried again", async (_, fail) => {
  fail();
  fake.refusals.push(refusal, refusal, refusal);
  const one = client(fake.url, { transports: ["ws", "sse"] });
  const sub = one.subscribe("news");
  await (await fake.link()).open();
  await sub.ready();
  expect(asked).toBeGreaterThanOrEqual(2);
});

test("it comes back to a WebSocket when there is one", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
  try {
    fake.refusals.push(refusal, refusal, refusal);
    answers = [says(stream(begin))];
    const one = client(fake.url, { transports: ["ws", "sse"], pingInterval: 1e9 });
    const sub = one.subscribe("news");
    await sub.ready();
    const closed = new Promise((done) => requests[0]!.socket.on("close", done));
    // The first attempt is refused, and costs nothing.
    vi.advanceTimersByTime(180_000);
    await vi.waitUntil(() => !fake.refusals.length, { timeout: 10_000 });
    expect(sub.state).toBe("active");
    vi.advanceTimersByTime(180_000);
    (await fake.link()).greet();
    await (await fake.link()).open();
    await sub.ready();
    await closed;
  } finally {
    vi.useRealTimers();
  }
});

test("a publication whose outcome is not known is sent again with its key, and is not taken for refused", async () => {
  answers = [says(stream(begin)), ends(answer(504, '{"detail":"whether it was published is not known"}')), says(stream(begin)), ({ socket }) => socket.destroy(), says(stream(begin))];
  const { one } = follow();
  await state(one, "open");
  const published = one.publish("news", 1, { key: "k" });
  published.catch(() => {});
  await until(() => requests.filter(({ method }) => method === "POST").length === 2);
  vi.spyOn(Date, "now").mockReturnValue(Date.now() + 300_000);
  try {
    await expect(published).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
  } finally {
    vi.restoreAllMocks();
  }
});

test.each([
  ["the gateway's", '{"detail":"no such topic"}', "rejected"],
  ["a proxy's", "404 page not found", "pending"],
])("%s 404 for a stream leaves it %s", async (_, body, expected) => {
  answers = [ends(answer(404, body))];
  const one = client(fake.url, { transports: ["sse"] });
  const sub = one.subscribe("news");
  await until(() => (expected === "rejected" ? sub.state === expected : requests.length >= 2));
  expect(sub.state).toBe(expected);
});

test("a stream that has had heartbeats and says nothing any more is lost", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    answers = [says(stream(begin, "\n", ": heartbeat\n")), says(stream("id: c0\n", event(1)))];
    const one = client(fake.url, { transports: ["sse"], pingInterval: 1e9 });
    const errors: unknown[] = [];
    one.on("state", ({ error }) => error && errors.push(error.message));
    const sub = one.subscribe("news");
    const got = new Promise((done) => sub.on("event", ({ data }) => done(data)));
    await vi.waitUntil(() => sub.state === "active" && sub.position === "sse:c0", { timeout: 10_000 });
    vi.advanceTimersByTime(39_000);
    expect(one.state).toBe("open");
    vi.advanceTimersByTime(2_000);
    expect(errors).toEqual(["A stream is silent"]);
    vi.advanceTimersByTime(20_000);
    expect(await got).toBe(1);
  } finally {
    vi.useRealTimers();
  }
});

test("a quiet stream whose gateway answers is kept", async () => {
  answers = [says(stream(begin))];
  const { one } = follow({ pingInterval: 20, pingTimeout: 5_000 });
  await until(() => asked === 4);
  expect(requests).toHaveLength(1);
  expect(one.state).toBe("open");
});

test("a chunk that cannot be loaded is a failed attempt, and no matter of tokens", async () => {
  vi.doMock("../../src/core/sse.js", () => {
    throw new Error("offline");
  });
  try {
    fake.refusals.push(refusal, refusal);
    const reasons: string[] = [];
    const token = ({ reason }: { reason: string }) => (reasons.push(reason), null);
    const one = client(fake.url, { transports: ["ws", "sse"], token });
    const link = await fake.link();
    link.greet();
    link.say({ type: "pong", id: (await link.next("ping")).id });
    await state(one, "open");
    expect(reasons).toEqual(["first"]);
  } finally {
    vi.doUnmock("../../src/core/sse.js");
  }
});

test("a clock that is set forward makes no stream's silence longer", async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    let first: Request | undefined;
    const begins = (request: Request) => void (first = request).socket.write(stream(begin, "\n"));
    answers = [begins, says(stream("id: c0\n"))];
    const one = client(fake.url, { transports: ["sse"], pingInterval: 1e9 });
    const errors: unknown[] = [];
    one.on("state", ({ error }) => error && errors.push(error.message));
    const sub = one.subscribe("news");
    await vi.waitUntil(() => sub.position === "sse:c0", { timeout: 20_000 });
    const timers = vi.getTimerCount();
    vi.spyOn(Date, "now").mockReturnValue(Date.now() + 3_600_000);
    first!.socket.write(": heartbeat\n\n");
    await vi.waitUntil(() => vi.getTimerCount() > timers, { timeout: 20_000 });
    vi.advanceTimersByTime(100_000);
    expect(errors).toEqual(["A stream is silent"]);
  } finally {
    vi.restoreAllMocks();
    vi.useRealTimers();
  }
});

test("a clock that is set back keeps nothing from trying a WebSocket", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "Date"] });
  try {
    fake.refusals.push(refusal, refusal, refusal);
    answers = [says(stream(begin))];
    const one = client(fake.url, { transports: ["ws", "sse"] });
    await one.subscribe("news").ready();
    vi.setSystemTime(Date.now() - 3_600_000);
    vi.advanceTimersByTime(5_000);
    await until(() => !fake.refusals.length);
    expect(one.state).toBe("open");
  } finally {
    vi.useRealTimers();
  }
});
