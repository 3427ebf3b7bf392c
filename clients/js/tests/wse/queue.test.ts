// Messages that wait, in memory and in a storage that pages share.
import { expect, test } from "vitest";
import { OfflineQueue, type QueueStorage, type QueuedMessage } from "../../src/wse/index.js";
import { seeded } from "./random.js";

let ids = 0;
function queued(priority: number, payload: unknown = {}, expires = Infinity): QueuedMessage {
  return { id: `m${ids++}`, type: "x", payload, priority, timestamp: ids, expires };
}

function drain(queue: OfflineQueue): QueuedMessage[] {
  const all: QueuedMessage[] = [];
  for (let message; (message = queue.peek()); queue.shift()) all.push(message);
  return all;
}

/** A storage that is as slow as it likes. */
class Memory implements QueueStorage {
  readonly kept = new Map<string, { owner: string; message: QueuedMessage }>();
  broken = false;
  async put(owner: string, messages: readonly QueuedMessage[]) {
    await Promise.resolve();
    if (this.broken) throw new Error("no room");
    for (const message of messages) this.kept.set(message.id, { owner, message });
  }
  async takeAll(of: string, now: number) {
    await Promise.resolve();
    const mine = [...this.kept.values()].filter(({ owner, message }) => owner === of && message.expires > now);
    for (const { message } of mine) this.kept.delete(message.id);
    return mine.map(({ message }) => message);
  }
  async clear() {
    this.kept.clear();
  }
  close() {}
}

test("urgent ones go first, and each priority keeps its order", () => {
  const random = seeded(8);
  const queue = new OfflineQueue({ maxSize: 10_000 });
  const all = Array.from({ length: 500 }, () => queued([1, 3, 5, 8, 10][Math.floor(random() * 5)] as number));
  for (const message of all) expect(queue.enqueue(message)).toBe(true);
  const sorted = all.map((message, i) => ({ message, i })).sort((a, b) => b.message.priority - a.message.priority || a.i - b.i);
  expect(drain(queue)).toEqual(sorted.map(({ message }) => message));
  expect(queue.size).toBe(0);
});

test("a full queue gives up the oldest of the lowest, and refuses what is no more urgent", () => {
  const dropped: string[] = [];
  const queue = new OfflineQueue({ maxSize: 3, onDrop: ({ id }, reason) => dropped.push(`${id} ${reason}`) });
  const [a, b, c, d, e] = [queued(5), queued(3), queued(3), queued(3), queued(8)] as const;
  for (const message of [a, b, c]) queue.enqueue(message);
  expect(queue.enqueue(d)).toBe(false);
  expect(queue.enqueue(e)).toBe(true);
  expect(dropped).toEqual([`${b.id} full`]);
  expect(drain(queue)).toEqual([e, a, c]);
});

test("neither its number nor its bytes grow beyond the limit", () => {
  const random = seeded(9);
  const queue = new OfflineQueue({ maxSize: 50, memoryLimit: 2_000 });
  for (let i = 0; i < 2_000; i++) {
    queue.enqueue(queued(Math.floor(random() * 10), "é".repeat(random() * 200)));
    expect(queue.size).toBeLessThanOrEqual(50);
    const bytes = queue.getAll().reduce((sum, { payload }) => sum + Buffer.byteLength(JSON.stringify(payload)), 0);
    expect(bytes).toBeLessThanOrEqual(2_000);
  }
  expect(queue.enqueue(queued(10, "x".repeat(3_000)))).toBe(false);
});

test("what has expired is not sent", () => {
  const dropped: string[] = [];
  const queue = new OfflineQueue({ now: () => 1_000, onDrop: (_, reason) => dropped.push(reason) });
  const fresh = queued(1, {}, 1_001);
  for (const message of [queued(5, {}, 1_000), fresh, queued(3, {}, 999)]) queue.enqueue(message);
  expect(drain(queue)).toEqual([fresh]);
  expect(dropped).toEqual(["expired", "expired"]);
});

test("a later page sends what an earlier one kept, and only its own user's", async () => {
  const storage = new Memory();
  const page = () => new OfflineQueue({ persistToStorage: true, storage });
  const first = page();
  first.setOwner("ann");
  const kept = [queued(5, { n: 1 }), queued(8, { n: 2 })];
  for (const message of kept) first.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(2);

  const other = page();
  other.setOwner("bob");
  await other.claim();
  expect(other.size).toBe(0);

  const second = page();
  second.setOwner("ann");
  await second.claim();
  expect(drain(second)).toEqual([kept[1], kept[0]]);
  expect(storage.kept.size).toBe(0);
});

test("of two pages with the same messages one sends them", async () => {
  const storage = new Memory();
  const reasons: string[] = [];
  const pages = [1, 2].map(() => new OfflineQueue({ persistToStorage: true, storage, onDrop: (_, reason) => reasons.push(reason) }));
  for (let i = 0; i < 10; i++) pages[i % 2]!.enqueue(queued(5, i), { persist: true });
  await expect.poll(() => storage.kept.size).toBe(10);
  await Promise.all(pages.map((page) => page.claim()));
  const sent = pages.flatMap(drain).map(({ payload }) => payload as number);
  expect(sent.sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(new Set(reasons)).toEqual(new Set(["taken"]));
});

test("a storage that fails loses nothing of the page", async () => {
  const storage = new Memory();
  storage.broken = true;
  const queue = new OfflineQueue({ persistToStorage: true, storage });
  const message = queued(5);
  queue.enqueue(message, { persist: true });
  await queue.claim();
  expect(drain(queue)).toEqual([message]);
});

test("another user's messages are not sent as this one's", () => {
  const queue = new OfflineQueue();
  queue.setOwner("ann");
  queue.enqueue(queued(5));
  queue.setOwner("bob");
  expect(queue.peek()).toBeUndefined();
});
