// The queue in a page, against a real gateway.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { commands } from "vitest/browser";
import { type Client, FanfareError, type Options, connect } from "../../src/core/index.js";
import { type Queue, type QueueEvents, type QueueOptions, openQueue } from "../../src/queue/index.js";
import { until } from "../support/until.js";

let gateway: string;
let topic: string;
let name: string;
let count = 0;
beforeAll(async () => void (gateway = await commands.startGateway()));
afterAll(() => commands.stopGateway(gateway));
beforeEach(() => {
  topic = `orders-${++count}`;
  name = `queue-${count}`;
});

const clients: Client[] = [];
const queues: Queue[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const queue of queues.splice(0)) queue.close();
  for (const client of clients.splice(0)) client.close();
});

function client(options: Options = {}): Client {
  const made = connect(`${gateway}/api/v1/ws`, { retryMin: 10, retryMax: 50, ...options });
  clients.push(made);
  return made;
}

function offline(): Client {
  const made = client();
  made.close();
  return made;
}

/** A queue, and what it tells. */
function queueOf(client: Client, options: QueueOptions = {}) {
  const queue = openQueue(client, { name, ...options });
  const sent: QueueEvents["sent"][] = [];
  const refused: QueueEvents["refused"][] = [];
  queue.on("sent", (one) => sent.push(one));
  queue.on("refused", (one) => refused.push(one));
  queues.push(queue);
  return { queue, sent, refused };
}

const isEmpty = async (queue: Queue) => (await queue.list()).length === 0;
const numbers = (end: number) => Array.from({ length: end }, (_, i) => i);

/** The topic's newest events as the gateway has them. */
async function published(): Promise<any[]> {
  const { events } = await client().query("history", { event: topic, limit: 100 });
  return events.map(({ data }: any) => data);
}

test("what is published offline is sent when the client connects, in order, and gone then", async () => {
  const one = offline();
  const { queue, sent } = queueOf(one);
  for (const n of numbers(20)) await queue.publish(topic, n);
  expect((await queue.list()).map(({ data }) => data)).toEqual(numbers(20));
  one.reconnect();
  await until(() => isEmpty(queue));
  expect(await published()).toEqual(numbers(20));
  expect(sent.map(({ data, offset }) => [data, offset])).toEqual(numbers(20).map((n) => [n, n + 1]));
});

test("what is published online is sent at once", async () => {
  const { queue, sent } = queueOf(client());
  await Promise.all(numbers(50).map((n) => queue.publish(topic, n)));
  await until(() => sent.length === 50);
  expect(await published()).toEqual(numbers(50));
});

test("data is taken as it is now, and as JSON has it", async () => {
  const one = offline();
  const { queue } = queueOf(one);
  const order = { when: new Date(0), lines: [1] };
  const stored = queue.publish(topic, order);
  order.lines.push(2);
  await stored;
  await queue.publish(topic, undefined);
  one.reconnect();
  await until(() => isEmpty(queue));
  expect(await published()).toEqual([{ when: "1970-01-01T00:00:00.000Z", lines: [1] }, null]);
});

test("a key that waits is not queued again, and one that was sent is published once", async () => {
  const one = offline();
  const { queue, sent } = queueOf(one);
  expect(await queue.publish(topic, "a", { key: "k" })).toBe("k");
  await queue.publish(topic, "b", { key: "k" });
  expect(await queue.list()).toEqual([{ topic, data: "a", key: "k" }]);
  one.reconnect();
  await until(() => isEmpty(queue));
  await queue.publish(topic, "c", { key: "k" });
  await until(() => sent.length === 2);
  expect(sent.map(({ offset }) => offset)).toEqual([1, 1]);
  expect(await published()).toEqual(["a"]);
});

test("the limit holds, for all pages together", async () => {
  const two = [queueOf(offline(), { limit: 10 }), queueOf(offline(), { limit: 10 })];
  const results = await Promise.allSettled(numbers(30).map((n) => two[n % 2]!.queue.publish(topic, n)));
  const stored = results.filter(({ status }) => status === "fulfilled");
  const faults = results.filter((result) => result.status === "rejected").map(({ reason }) => reason.code);
  expect(stored).toHaveLength(10);
  expect(faults).toEqual(Array(20).fill("QUEUE_FULL"));
  expect(await two[0]!.queue.list()).toHaveLength(10);
  await two[0]!.queue.clear();
  await two[1]!.queue.publish(topic, "there is room again");
});

test("two pages send each once, and what each has queued in its order", async () => {
  const pages = [queueOf(client()), queueOf(client())];
  await Promise.all(pages.flatMap(({ queue }, page) => numbers(40).map((n) => queue.publish(topic, [page, n]))));
  await until(() => isEmpty(pages[0]!.queue));
  const all: [number, number][] = await published();
  expect(all).toHaveLength(80);
  for (const page of [0, 1]) expect(all.filter(([of]) => of === page).map(([, n]) => n)).toEqual(numbers(40));
  await until(() => pages[0]!.sent.length + pages[1]!.sent.length === 80);
});

test("one page whose connection is lost while it sends leaves the rest to the other", async () => {
  const [one, other] = [client(), client()];
  const [first, second] = [queueOf(one), queueOf(other)];
  first.queue.on("sent", ({ data }) => data === 5 && one.close());
  await Promise.all(numbers(20).map((n) => first.queue.publish(topic, n)));
  await second.queue.publish(topic, 20);
  await until(() => isEmpty(second.queue));
  expect(await published()).toEqual(numbers(21));
});

test("without locks order and keys hold all the same", async () => {
  vi.spyOn(navigator, "locks", "get").mockReturnValue(undefined as any);
  const one = offline();
  const { queue } = queueOf(one);
  const other = offline();
  queueOf(other);
  for (const n of numbers(50)) await queue.publish(topic, n);
  one.reconnect();
  other.reconnect();
  await until(() => isEmpty(queue));
  expect(await published()).toEqual(numbers(50));
});

test("connections that are cut again and again: each once, in order", async () => {
  const one = client();
  const { queue, sent, refused } = queueOf(one);
  const all = Promise.all(numbers(100).map((n) => queue.publish(topic, n)));
  for (let cuts = 0; cuts < 15; cuts++) {
    const before = sent.length;
    await until(() => sent.length > before + 2 || sent.length === 100);
    one.reconnect();
  }
  await all;
  await until(() => isEmpty(queue));
  expect(await published()).toEqual(numbers(100));
  expect(refused).toEqual([]);
});

test("kill -9 of the gateway: what it has not acknowledged is sent to the next one, in order", async () => {
  const own = await commands.startGateway();
  const one = connect(`${own}/api/v1/ws`, { retryMin: 10, retryMax: 50 });
  clients.push(one);
  const { queue, sent, refused } = queueOf(one);
  const all = Promise.all(numbers(100).map((n) => queue.publish(topic, n)));
  await until(() => sent.length > 20);
  await commands.killGateway(own);
  await until(() => one.state === "waiting");
  const before = sent.length;
  await commands.restartGateway(own);
  await all;
  await until(() => isEmpty(queue));
  expect(sent.map(({ data }) => data)).toEqual(numbers(100));
  expect(refused).toEqual([]);
  // The new gateway knows nothing of the old one's keys, and has what was sent to it, without repeats.
  const { events } = await one.query("history", { event: topic, limit: 100 });
  expect(events.map(({ data }: any) => data)).toEqual(numbers(100).slice(before));
  one.close();
  await commands.stopGateway(own);
});

describe("another page", () => {
  /** A page of the same origin. It opens a queue on a client, tells what it does, and goes when it is removed. */
  async function page(script: string): Promise<{ frame: HTMLIFrameElement; told: any[] }> {
    const frame = document.createElement("iframe");
    const told: any[] = [];
    const channel = crypto.randomUUID();
    addEventListener("message", ({ data }) => data?.channel === channel && told.push(data.value));
    frame.srcdoc = `<script type="module">
      import { connect } from "${location.origin}/src/core/index.ts";
      import { openQueue } from "${location.origin}/src/queue/index.ts";
      const tell = (value) => parent.postMessage({ channel: "${channel}", value }, "*");
      const client = connect("${gateway}/api/v1/ws");
      ${script}
    </script>`;
    document.body.append(frame);
    return { frame, told };
  }

  test("what a page has queued offline is sent by the next one", async () => {
    const { frame, told } = await page(`
      client.close();
      const queue = openQueue(client, { name: "${name}" });
      for (let n = 0; n < 10; n++) await queue.publish("${topic}", n, { key: "key " + n });
      tell("stored");`);
    await until(() => told.includes("stored"));
    frame.remove();
    const { queue, sent } = queueOf(client());
    await until(() => sent.length === 10);
    expect(sent.map(({ key }) => key)).toEqual(numbers(10).map((n) => `key ${n}`));
    await until(() => isEmpty(queue));
    expect(await published()).toEqual(numbers(10));
  });

  test("a page that goes while it sends: the next one goes on, each once", async () => {
    const { frame, told } = await page(`
      const queue = openQueue(client, { name: "${name}" });
      queue.on("sent", ({ data }) => tell(data));
      for (let n = 0; n < 60; n++) queue.publish("${topic}", n);`);
    const { queue, sent } = queueOf(client());
    await until(() => told.length > 5);
    frame.remove();
    await queue.publish(topic, 60);
    await until(() => isEmpty(queue));
    expect(sent.length).toBeGreaterThan(0);
    const all = await published();
    expect(all).toContain(60);
    expect(all.filter((n) => n < 60)).toEqual(numbers(all.length - 1));
  });
});

describe("refusals", () => {
  test("what the gateway refuses is told and given up, and the next one goes on", async () => {
    const one = offline();
    const { queue, sent, refused } = queueOf(one);
    const key = await queue.publish("not a name", 1);
    await queue.publish(topic, "x".repeat(70_000));
    await queue.publish(topic, 2);
    one.reconnect();
    await until(() => isEmpty(queue));
    expect(refused.map(({ error }) => error.code)).toEqual(["INVALID_MESSAGE", "MESSAGE_TOO_LARGE"]);
    expect(refused[0]).toMatchObject({ topic: "not a name", data: 1, key });
    expect(sent.map(({ data }) => data)).toEqual([2]);
  });

  test("without a listener a refusal is on the console", async () => {
    const shown = vi.spyOn(console, "error").mockReturnValue();
    const queue = openQueue(client(), { name });
    queues.push(queue);
    await queue.publish("not a name", 1);
    await until(() => isEmpty(queue));
    expect(shown).toHaveBeenCalledOnce();
  });

  /** A client whose publications end as a test has them. */
  function made(publish: Client["publish"]) {
    const listeners: ((status: any) => void)[] = [];
    const one = { state: "open", publish, on: (_: string, listener: any) => (listeners.push(listener), () => {}) };
    const go = (state: string) => {
      one.state = state;
      for (const listener of listeners) listener({ state });
    };
    return { one: one as any as Client, go };
  }

  const never: Client["publish"] = (_, __, { signal } = {}) =>
    new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason)));

  test("what may have been sent before the gateway forgot its key is not sent again", async () => {
    const calls: unknown[] = [];
    const { one, go } = made((topic, data, options) => (calls.push(data), never(topic, data, options)));
    const { queue, refused } = queueOf(one);
    await queue.publish(topic, "perhaps");
    await until(() => calls.length === 1);
    go("waiting");
    await queue.publish(topic, "not yet");
    const now = Date.now();
    vi.spyOn(Date, "now").mockReturnValue(now + 300_000);
    go("open");
    await until(() => calls.length === 2);
    expect(calls).toEqual(["perhaps", "not yet"]);
    expect(refused.map(({ data, error }) => [data, error.code])).toEqual([["perhaps", "OUTCOME_UNKNOWN"]]);
    expect((await queue.list()).map(({ data }) => data)).toEqual(["not yet"]);
  });

  test("what may help later is tried again, as what was not sent", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0);
    const answers = [new FanfareError("TOPIC_LIMIT", "later", "retry"), new Error("a defect"), 7];
    const { one } = made(async () => {
      const answer = answers.shift()!;
      if (typeof answer !== "number") throw answer;
      return answer;
    });
    const { queue, sent } = queueOf(one);
    const faults: unknown[] = [];
    queue.on("error", (error) => faults.push(String(error)));
    await queue.publish(topic, 1);
    await until(() => sent.length === 1);
    expect(sent[0]!.offset).toBe(7);
    expect(faults).toEqual(["Error: a defect"]);
  });
});

test("closed: nothing is sent or taken any more, and what waits stays", async () => {
  const one = offline();
  const { queue } = queueOf(one);
  await queue.publish(topic, 1);
  queue.close();
  await expect(queue.publish(topic, 2)).rejects.toMatchObject({ code: "CLOSED" });
  one.reconnect();
  await until(() => one.state === "open");
  const { queue: next, sent } = queueOf(offline());
  expect((await next.list()).map(({ data }) => data)).toEqual([1]);
  expect(sent).toEqual([]);
});

test("closed at any moment it leaves the lock to the next one", async () => {
  const one = client();
  await until(() => one.state === "open");
  for (const n of numbers(20)) {
    const { queue } = queueOf(one);
    await queue.publish(topic, n);
    for (let turns = 0; turns < n; turns++) await Promise.resolve();
    queue.close();
  }
  one.close();
  const { queue } = queueOf(client());
  await until(() => isEmpty(queue));
  expect(await published()).toEqual(numbers(20));
});

test("a database that the user clears away is made anew", async () => {
  const { queue, sent } = queueOf(client());
  await queue.publish(topic, 1);
  await until(() => sent.length === 1);
  await new Promise((done, fail) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = done;
    request.onerror = fail;
  });
  await queue.publish(topic, 2);
  await until(() => sent.length === 2);
});
