// The core in a browser, whose `WebSocket` and `fetch` are others, and which has pages and networks that go away.
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { commands } from "vitest/browser";
import { type Client, type Options, type State, connect } from "../../src/core/index.js";

let url: string;
const clients: Client[] = [];
beforeAll(async () => {
  url = await commands.startGateway({ settings: { HTTP__CORS_ORIGINS: "*" } });
});
afterEach(() => clients.splice(0).forEach((one) => one.close()));
afterAll(() => commands.stopGateway(url));

function client(options: Options = {}): Client {
  const one = connect(`${url}/api/v1/ws/demo`, { retryMin: 20, retryMax: 100, ...options });
  clients.push(one);
  return one;
}

async function state(one: Client, wanted: State): Promise<void> {
  while (one.state !== wanted) await new Promise<void>((done) => one.on("state", () => done()));
}

test.each(["ws", "sse"] as const)("subscribes, publishes and resumes over %s", async (transport) => {
  const one = client({ transports: [transport] });
  const topic = `browser.${transport}`;
  const sub = one.subscribe<number>(topic);
  const got: unknown[] = [];
  sub.on("event", ({ data }) => got.push(data));
  sub.on("gap", ({ lost }) => got.push(`gap ${lost}`));
  await sub.ready();
  expect(await one.publish(topic, 1)).toBe(1);
  one.close();
  const other = client();
  expect(await other.publish(topic, 2)).toBe(2);
  one.reconnect();
  await one.publish(topic, 3);
  await expect.poll(() => got).toEqual([1, 2, 3]);
});

test("asks, and is refused", async () => {
  const one = client();
  expect(await one.query("server_info")).toMatchObject({ name: "fanfare" });
  await expect(one.query("nothing")).rejects.toMatchObject({ code: "UNKNOWN_QUERY", remedy: "fix" });
});

test("a restart of the gateway is one gap", async () => {
  const one = client();
  const sub = one.subscribe<number>("crash");
  const got: unknown[] = [];
  sub.on("event", ({ data }) => got.push(data));
  sub.on("gap", ({ lost }) => got.push(`gap ${lost}`));
  await sub.ready();
  await one.publish("crash", 1);
  await commands.killGateway(url);
  await state(one, "waiting");
  await commands.restartGateway(url);
  await sub.ready();
  await one.publish("crash", 2);
  await expect.poll(() => got).toEqual([1, "gap null", 2]);
});

test("a network that is back is tried at once", async () => {
  await commands.killGateway(url);
  const one = client({ retryMin: 3_600_000, retryMax: 3_600_000 });
  await state(one, "waiting");
  await commands.restartGateway(url);
  dispatchEvent(new Event("online"));
  await state(one, "open");
  // While it is open, the gateway is asked whether it is there.
  document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
  expect(await one.publish("here", 1)).toBe(1);
});

test("a gateway that wants to be left alone is, whatever the network and the page do", async () => {
  const sockets: Stub[] = [];
  class Stub {
    readonly readyState = 1;
    onmessage: ((event: unknown) => void) | null = null;
    onclose: ((event: unknown) => void) | null = null;
    onerror = null;
    constructor() {
      sockets.push(this);
    }
    send(): void {}
    close(): void {}
  }
  const one = client({ WebSocket: Stub });
  await expect.poll(() => sockets.length).toBe(1);
  sockets[0]!.onmessage!({ data: '{"type":"error","code":"OVERLOADED","message":"-","details":{"retry_after":60}}' });
  sockets[0]!.onclose!({ code: 1013, reason: "Overloaded, try again later" });
  expect(one.status).toMatchObject({ state: "waiting" });
  dispatchEvent(new Event("online"));
  await new Promise((done) => setTimeout(done));
  expect(sockets).toHaveLength(1);
  one.reconnect();
  await expect.poll(() => sockets.length).toBe(2);
});

test("a token that no header can have is the callback's failure", async () => {
  const tokens = ["two words", "good"];
  const one = client({ token: () => tokens.shift() });
  const seen: unknown[] = [];
  one.on("state", ({ error }) => error && seen.push(error.code));
  await state(one, "open");
  expect(seen).toEqual(["CONNECTION_LOST"]);
});

test("listeners of the page are gone after close()", async () => {
  const one = client();
  await state(one, "open");
  one.close();
  dispatchEvent(new Event("online"));
  await new Promise((done) => setTimeout(done));
  expect(one.state).toBe("closed");
});
