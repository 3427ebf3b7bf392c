// Users of the bridge and services that ask them, against a real gateway.
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { type Message, type ServiceOptions, type User, type UserOptions, connectUser, createService } from "../../src/bridge/index.js";
import { until } from "../support/until.js";
import { FakeGateway } from "../support/fake.js";
import { Gateway, SECRET, token } from "../support/gateway.js";

let gateway: Gateway;
beforeAll(async () => void (gateway = await Gateway.start({ settings: { BRIDGE__RESPONSE_TIMEOUT: "3s" } })));
afterAll(() => gateway.stop());

const users: User[] = [];
afterEach(() => {
  for (const user of users.splice(0)) user.close();
});

let count = 0;
const name = () => `user-${++count}`;

function connect(user: string, options: Partial<UserOptions> = {}, url = `${gateway.url}/ws`) {
  const made = connectUser(url, { user, WebSocket, retryMin: 10, retryMax: 50, ...options });
  users.push(made);
  const messages: Message[] = [];
  const errors: unknown[] = [];
  made.on("message", (message) => messages.push(message));
  made.on("error", (error) => errors.push(error));
  return { user: made, messages, errors };
}

const service = (options?: ServiceOptions) => createService(gateway.http, options);
const is = (user: User, state: string) => until(() => user.state === state);

test("a push, and to somebody who is not there", async () => {
  const alice = name();
  const { user, messages } = connect(alice);
  await is(user, "open");
  expect(await service().push(alice, { message: "Build 7 is done" })).toBe(true);
  await until(() => messages.length > 0);
  expect(messages[0]!.data).toMatchObject({ message: "Build 7 is done", user_id: alice });
  expect(await service().push("nobody", { message: "?" })).toBe(false);
});

test("a batch: each with its outcome, in order", async () => {
  const alice = name();
  const { user, messages } = connect(alice);
  await is(user, "open");
  const pushes = [0, 1, 2].flatMap((n) => [{ user: alice, data: { n } }, { user: "nobody", data: { n } }]);
  const results = await service().batch(pushes);
  expect(results.map(({ user, delivered }) => [user, delivered])).toEqual(pushes.map(({ user }) => [user, user === alice]));
  await until(() => messages.length === 3);
  expect(messages.map(({ data }) => data.n)).toEqual([0, 1, 2]);
});

test("a question, and its answers while they come", async () => {
  const alice = name();
  const { user } = connect(alice);
  const steps = ["I have read it.", "I am thinking.", "I have made up my mind."];
  let next = () => {};
  user.on("message", async (message) => {
    for (const text of steps) {
      await message.answer({ message: text });
      await new Promise<void>((done) => (next = done));
    }
    await message.finish({ message: "Yes" });
  });
  await is(user, "open");
  const got: any[] = [];
  for await (const answer of service().ask(alice, { message: "Deploy?" })) {
    got.push(answer);
    // The next one is only said when this one has come.
    next();
  }
  expect(got.map(({ message }) => message)).toEqual([...steps, "Yes"]);
  expect(got.map(({ is_final }) => is_final)).toEqual([undefined, undefined, undefined, true]);
});

test("an answer keeps the id of its question, whatever it says", async () => {
  const alice = name();
  const { user } = connect(alice);
  user.on("message", (message) => message.finish({ correlation_id: "another", is_final: false, type: "mine" }));
  await is(user, "open");
  const got: any[] = [];
  for await (const answer of service().ask(alice, { correlation_id: 7 })) got.push(answer);
  expect(got).toEqual([{ type: "mine", correlation_id: 7, is_final: true }]);
});

test("leaving the loop ends the question, and its id is free again", async () => {
  const alice = name();
  const { user } = connect(alice);
  user.on("message", (message) => message.answer({ n: 1 }));
  await is(user, "open");
  for (let i = 0; i < 2; i++) {
    for await (const answer of service().ask(alice, { correlation_id: "one" })) {
      expect(answer).toMatchObject({ n: 1 });
      break;
    }
    await until(async () => (await gateway.get("/metrics")).fanfare_bridge_calls !== 1);
  }
});

test("a user whose connection is lost answers on the next one", async () => {
  const alice = name();
  const { user, messages } = connect(alice);
  await is(user, "open");
  const asked = service().ask(alice, { message: "Deploy?" });
  const first = asked.next();
  await until(() => messages.length > 0);
  user.reconnect();
  await messages[0]!.answer({ n: 1 });
  await messages[0]!.finish({ n: 2 });
  expect((await first).value).toMatchObject({ n: 1 });
  expect((await asked.next()).value).toMatchObject({ n: 2, is_final: true });
  expect((await asked.next()).done).toBe(true);
});

test("kill -9 of the gateway: the user comes back, the service is told", async () => {
  const own = await Gateway.start();
  const { user, messages } = connect("alice", {}, `${own.url}/ws`);
  await is(user, "open");
  const asked = createService(own.http).ask("alice", { message: "Deploy?" });
  const first = asked.next();
  first.catch(() => {});
  await until(() => messages.length > 0);
  await own.stop("SIGKILL");
  await expect(first).rejects.toMatchObject({ code: "CONNECTION_LOST", remedy: "retry" });
  await expect(createService(own.http).push("alice", {})).rejects.toMatchObject({ code: "CONNECTION_LOST" });
  await is(user, "waiting");
  await own.start();
  await is(user, "open");
  expect(await createService(own.http).push("alice", {})).toBe(true);
  await own.stop();
});

test("a user who is connected elsewhere waits for that to end", async () => {
  const alice = name();
  const first = connect(alice);
  await is(first.user, "open");
  const second = connect(alice);
  await until(() => /User already connected/.test(second.user.status.error?.message ?? ""));
  expect(second.user.state).not.toBe("open");
  first.user.close();
  await is(second.user, "open");
});

test("a user who is replaced gives up", async () => {
  const own = await Gateway.start({ settings: { BRIDGE__DUPLICATE: "replace" } });
  const first = connect("alice", {}, `${own.url}/ws`);
  await is(first.user, "open");
  const second = connect("alice", {}, `${own.url}/ws`);
  await is(first.user, "ended");
  expect(first.user.status.error).toMatchObject({ remedy: "fix", message: "Replaced by new connection" });
  await is(second.user, "open");
  second.user.close();
  first.user.reconnect();
  await is(first.user, "open");
  await own.stop();
});

describe("with tokens", () => {
  let closed: Gateway;
  beforeAll(async () => {
    closed = await Gateway.start({ mode: "prod", settings: { AUTH__JWT_SECRET: SECRET, AUTH__LEEWAY: "0s" } });
  });
  afterAll(() => closed.stop());

  test("one that is not valid is asked for anew, and so is one that ends", async () => {
    const asked: string[] = [];
    const soon = () => ({ exp: Math.floor(Date.now() / 1000) + 5, iat: Math.floor(Date.now() / 1000) });
    const tokens = ["nonsense", token("alice", soon())];
    const source = ({ reason }: { reason: string }) => (asked.push(reason), tokens.shift() ?? token("alice"));
    const { user } = connect("alice", { token: source }, `${closed.url}/ws`);
    await is(user, "open");
    await until(() => asked.length === 3);
    await is(user, "open");
    expect(asked[0]).toBe("first");
    expect(asked[2]).toBe("expired");
  });

  test("without any it has given up", async () => {
    const { user } = connect("alice", {}, `${closed.url}/ws`);
    await until(() => /ended|waiting/.test(user.state));
    const other = connect("alice", { token: ({ reason }) => (reason === "first" ? "nonsense" : null) }, `${closed.url}/ws`);
    await is(other.user, "ended");
    expect(other.user.status.error).toMatchObject({ code: "TOKEN", remedy: "token" });
  });

  test("services need a key", async () => {
    const { user } = connect("alice", { token: token("alice") }, `${closed.url}/ws`);
    await is(user, "open");
    await expect(createService(closed.http).push("alice", {})).rejects.toMatchObject({
      code: "AUTHENTICATION_FAILED",
      remedy: "token",
      details: { status: 401 },
    });
    const key = async () => token("shop", { role: "service" });
    expect(await createService(closed.http, { key }).push("alice", {})).toBe(true);
    expect(await createService(`${closed.http}/`, { key: await key() }).push("alice", {})).toBe(true);
  });
});

describe("refusals", () => {
  const ask = async (...all: Parameters<ReturnType<typeof service>["ask"]>) => {
    for await (const _ of service().ask(...all));
  };

  test("nobody there, silence, an id in use, what is not valid", async () => {
    await expect(ask("nobody", {})).rejects.toMatchObject({ code: "NOT_CONNECTED", remedy: "retry" });
    const alice = name();
    const { user, messages } = connect(alice);
    await is(user, "open");
    const silent = ask(alice, { correlation_id: "x" });
    silent.catch(() => {});
    await until(() => messages.length > 0);
    await expect(ask(alice, { correlation_id: "x" })).rejects.toMatchObject({ code: "IN_USE", details: { status: 409 } });
    await expect(silent).rejects.toMatchObject({ code: "TIMEOUT", remedy: "retry" });
    await expect(service().push(7 as any, {})).rejects.toMatchObject({ code: "INVALID_MESSAGE", details: { status: 422 } });
    await expect(service().push(alice, { text: "x".repeat(3_000_000) })).rejects.toMatchObject({
      code: expect.stringMatching("MESSAGE_TOO_LARGE|CONNECTION_LOST"),
    });
  });

  test("a signal ends a question with its reason", async () => {
    const alice = name();
    const { user, messages } = connect(alice);
    await is(user, "open");
    const abort = new AbortController();
    const asked = ask(alice, {}, { signal: abort.signal });
    asked.catch(() => {});
    await until(() => messages.length > 0);
    abort.abort("enough");
    await expect(asked).rejects.toBe("enough");
    await expect(ask(alice, {}, { signal: abort.signal })).rejects.toBe("enough");
  });

  test("a user who has closed answers nothing, and no rejection is unhandled", async () => {
    const alice = name();
    const { user, messages } = connect(alice);
    await is(user, "open");
    await service().push(alice, {});
    await until(() => messages.length > 0);
    user.close();
    void messages[0]!.answer({});
    await expect(messages[0]!.finish()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("a gateway that says anything", () => {
  let fake: FakeGateway;
  beforeAll(async () => void (fake = await FakeGateway.start()));
  afterAll(() => fake.stop());

  const error = { type: "error", message: "Error processing your message", timestamp: 1 };

  /** A user that is open, and its connection. */
  async function opened(options: Partial<UserOptions> = {}) {
    const one = connect("alice", options, `${fake.url}?a=b`);
    const link = await fake.link();
    expect(link.path).toBe("/api/v1/ws?a=b&user_id=alice");
    await link.next();
    link.say(error);
    await is(one.user, "open");
    return { ...one, link };
  }

  test.each([["no JSON", "{"], ["a number", "7"], ["null", "null"], ["nothing", ""]])("%s costs a connection", async (_, text) => {
    const { user, messages, errors, link } = await opened();
    link.say(text);
    const next = await fake.link();
    await next.next();
    next.say(error);
    await is(user, "open");
    next.say({ correlation_id: 1 });
    await until(() => messages.length === 1);
    expect(errors).toEqual([expect.objectContaining({ code: "BROKEN_FRAME" })]);
  });

  test("frames of the events protocol are messages, and nothing else", async () => {
    const { user, messages, errors, link } = await opened();
    const frames = [
      { type: "connection_established", expires_at: "x" },
      { type: "gap", event: null },
      { type: "batch", messages: 7 },
      { type: "event", event: "news", event_id: "1-1" },
      { type: "response", id: 1 },
      { type: "error", id: 1, code: "BUSY", correlation_id: 1 },
      [1],
    ];
    for (const frame of frames) link.say(frame);
    await until(() => messages.length === frames.length);
    expect(messages.map(({ data }) => data)).toEqual(frames);
    expect([user.state, errors]).toEqual(["open", []]);
  });

  test("an address that never answers is given up, and asked again", async () => {
    const { user } = connect("alice", { pingInterval: 50, pingTimeout: 100 }, fake.url);
    const first = await fake.link();
    await first.closed;
    await fake.link();
    expect(user.state).not.toBe("open");
  });

  const streams: [string, string, any][] = [
    ["no JSON", "data: {\n\n", "CONNECTION_LOST"],
    ["null", "data: null\n\n", "CONNECTION_LOST"],
    ["nothing", "", "CONNECTION_LOST"],
    ["comments alone", ": a\n\n: b\n\n", "CONNECTION_LOST"],
    ["no last answer", 'data: {"n":1}\n\n', "CONNECTION_LOST"],
    ["half an answer", 'data: {"n":1,"is_final":true', "CONNECTION_LOST"],
    ["its end", 'data: {"error":"Server shutdown","correlation_id":1}\n\n', "CONNECTION_LOST"],
    ["a word of every object", 'data: {"error":"constructor","is_final":true}\n\n', undefined],
    ["slowness", 'data: {"error":"Answers are read too slowly","correlation_id":1}\n\n', "TOO_SLOW"],
  ];

  test.each(streams)("a stream of %s", async (_, body, code) => {
    fake.onRequest = ({ socket }) => socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n${body}`);
    const asked = createService(fake.http).ask("alice", {});
    const ended = asked.next().then(() => asked.next());
    if (code) await expect(ended).rejects.toMatchObject({ code });
    else expect(await ended).toEqual({ done: true, value: undefined });
  });

  test.each([["no JSON", "x"], ["null", "null"]])("an answer that is %s", async (_, body) => {
    fake.onRequest = ({ socket }) => socket.end(`HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n${body}`);
    await expect(createService(fake.http).push("alice", {})).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    await expect(createService(fake.http).batch([])).rejects.toMatchObject({ code: "CONNECTION_LOST" });
  });

  test("a status says what helps, and when", async () => {
    fake.onRequest = ({ socket }) => socket.end('HTTP/1.1 429 -\r\nconnection: close\r\nretry-after: 7\r\n\r\n{"detail":"slowly"}');
    await expect(createService(fake.http).push("alice", {})).rejects.toMatchObject({
      code: "RATE_LIMIT_EXCEEDED",
      remedy: "retry",
      details: { status: 429, retry_after: 7 },
      message: 'The gateway answered 429: {"detail":"slowly"}',
    });
  });

  test("answers cut at every byte are the same", async () => {
    const body = 'data: {"text":"größer"}\n\n: comment\n\ndata: {"is_final":1}\n\n';
    fake.onRequest = async ({ socket }) => {
      socket.setNoDelay(true);
      socket.write("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
      for (const byte of Buffer.from(body)) {
        socket.write(Buffer.of(byte));
        await new Promise((done) => setImmediate(done));
      }
      socket.end();
    };
    const got: any[] = [];
    for await (const answer of createService(fake.http).ask("alice", {})) got.push(answer);
    expect(got).toEqual([{ text: "größer" }, { is_final: 1 }]);
  });
});
