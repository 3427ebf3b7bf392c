// The same client against the published WSE server 2.5.1, which runs in Python 3.12 or later: what works there works here.
//
// Looked for as `target/wse-server-2.5.1`, which `scripts/setup test` makes where there is such a Python, or where
// WSE_SERVER_PYTHON says.
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { WSEClientConfig } from "../../src/wse/index.js";
import { SECRET, freePort, token } from "../support/gateway.js";
import { Watched } from "./support.js";

const repository = fileURLToPath(new URL("../../../..", import.meta.url));
const python =
  process.env["WSE_SERVER_PYTHON"] ??
  resolve(repository, process.env["CARGO_TARGET_DIR"] ?? "target", "wse-server-2.5.1/bin/python");
const found = existsSync(python);
if (!found) console.warn(`skipped: there is no WSE server at ${python}: it needs Python 3.12, and \`scripts/setup test\``);

describe.skipIf(!found)("the published server", () => {
  let port: number;
  let process_: ChildProcess;
  let watched: Watched[] = [];

  async function start(): Promise<void> {
    const program = fileURLToPath(new URL("published.py", import.meta.url));
    process_ = spawn(python, [program, String(port), SECRET], { stdio: ["ignore", "pipe", "inherit"] });
    await once(process_.stdout!, "data");
  }
  async function kill(): Promise<void> {
    const ended = once(process_, "exit");
    process_.kill("SIGKILL");
    await ended;
  }

  beforeAll(async () => {
    port = await freePort();
    await start();
  });
  afterAll(kill);
  afterEach(() => {
    for (const { client } of watched) client.stop();
    watched = [];
  });

  /** It takes tokens from a header or a cookie alone, which a browser says by itself. */
  function client(config: WSEClientConfig = {}, user = "ann"): Watched {
    const headers = { authorization: `Bearer ${token(user)}` };
    const Base = Watched.socket;
    class WithHeader extends Base {
      constructor(url: string) {
        super(url, { headers });
      }
    }
    const one = new Watched(`ws://127.0.0.1:${port}/wse`, { ...config, WebSocket: WithHeader as never }, "cookie");
    watched.push(one);
    return one;
  }

  const subscribed = (one: Watched, topic: string) =>
    expect.poll(() => one.told("subscriptionUpdate").some(({ success_topics }) => success_topics.includes(topic))).toBe(true);
  const publish = (one: Watched, topic: string, n: number) => one.client.send("publish", { topic, type: "tick", data: { n } });
  const numbers = (to: number) => Array.from({ length: to }, (_, i) => i + 1);

  test("connects, subscribes, publishes and receives", async () => {
    const one = client().watch("tick").start("prices");
    await subscribed(one, "prices");
    publish(one, "prices", 1);
    await expect.poll(() => one.numbers()).toEqual([1]);
    await expect.poll(() => one.told("snapshotComplete")).toHaveLength(1);
    await expect.poll(() => one.client.store.getState().metrics.lastLatency).not.toBeNull();
  });

  test("reads small, compressed and MessagePack events", async () => {
    for (const config of [{}, { format: "msgpack" }] as WSEClientConfig[]) {
      const one = client(config).watch("echoed").start();
      await expect.poll(() => one.client.connection.isReady()).toBe(true);
      const payloads = [{ n: 1 }, { n: 2, text: "é".repeat(3_000) }];
      for (const payload of payloads) one.client.send("echo", payload);
      await expect.poll(() => one.messages.map(({ p }) => p)).toEqual(payloads);
      one.client.stop();
    }
  });

  test("recovers what was missed in cuts, each once", async () => {
    const one = client().watch("tick").start("cuts");
    const other = client({}, "bob").start();
    await subscribed(one, "cuts");
    await expect.poll(() => other.client.connection.isReady()).toBe(true);
    // Of a topic that was never published to, this server names no place to recover from.
    let n = 1;
    publish(one, "cuts", n);
    await expect.poll(() => one.numbers()).toEqual([1]);
    for (let cut = 0; cut < 5; cut++) {
      for (let i = 0; i < 20; i++) publish(other, "cuts", ++n);
      if (cut % 2 === 0) (one.sockets.at(-1) as unknown as { terminate(): void }).terminate();
      else one.client.send("cut");
      await expect.poll(() => one.client.store.getState().metrics.reconnectCount, { interval: 5 }).toBe(cut + 1);
    }
    await expect.poll(() => one.numbers()).toEqual(numbers(n));
    expect(one.told("wseGap")).toEqual([]);
  });

  test("encrypts, and recovers encrypted", async () => {
    const one = client({ security: { encryptionEnabled: true, encryptionRequired: true } }).watch("tick").start("sealed");
    await subscribed(one, "sealed");
    publish(one, "sealed", 1);
    await expect.poll(() => one.numbers()).toEqual([1]);
    (one.sockets.at(-1) as unknown as { terminate(): void }).terminate();
    await expect.poll(() => one.client.store.getState().metrics.reconnectCount).toBe(1);
    publish(one, "sealed", 2);
    await expect.poll(() => one.numbers()).toEqual([1, 2]);
    expect(one.client.store.getState().security.encryptionEnabled).toBe(true);
  });

  test("comes back after a crash, sends what waited, and tells the gap once", async () => {
    const one = client().watch("tick").start("crash");
    await subscribed(one, "crash");
    publish(one, "crash", 1);
    await expect.poll(() => one.numbers()).toEqual([1]);
    await kill();
    await expect.poll(() => one.client.store.getState().connectionState).toBe("reconnecting");
    for (const n of [2, 3]) publish(one, "crash", n);
    await start();
    await expect.poll(() => one.numbers()).toEqual([1, 2, 3]);
    await expect.poll(() => one.told("wseGap")).toEqual([{ topic: "crash", lost: null }]);
  });

  test("measures its quality", async () => {
    const one = client({ heartbeatInterval: 20 }).start();
    await expect.poll(() => one.client.monitor.getLatencyStats().current).not.toBeNull();
    await expect.poll(() => one.told("connectionQualityChanged").length).toBeGreaterThan(0);
    await expect.poll(() => one.client.store.getState().diagnostics?.quality).not.toBe("unknown");
  });
});
