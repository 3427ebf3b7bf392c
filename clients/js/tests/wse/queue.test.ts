// Messages that wait, in memory and in a storage that pages share.
import { expect, test } from "vitest";
import { OfflineQueue, type OfflineQueueConfig, type QueueStorage, type QueuedMessage } from "../../src/wse/index.js";
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
  /** It takes nothing any longer. */
  broken = false;
  /** Nothing works. */
  closed = false;
  async put(owner: string, messages: readonly QueuedMessage[]) {
    await Promise.resolve();
    if (this.broken || this.closed) throw new Error("no room");
    for (const message of messages) this.kept.set(message.id, { owner, message });
  }
  async takeAll(of: string, now: number) {
    await Promise.resolve();
    if (this.closed) throw new Error("it was closed");
    const all = [...this.kept.values()];
    for (const { owner, message } of all) if (owner === of || message.expires <= now) this.kept.delete(message.id);
    return all.filter(({ owner }) => owner === of).map(({ message }) => message);
  }
  async remove(ids: ReadonlySet<string>) {
    await Promise.resolve();
    if (this.closed) throw new Error("it was closed");
    for (const id of ids) this.kept.delete(id);
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

/** A queue of one page, and what it says of messages that it drops. */
function page(storage: Memory, config: Partial<OfflineQueueConfig> = {}) {
  const dropped: string[] = [];
  const queue = new OfflineQueue({ persistToStorage: true, storage, onDrop: ({ id }, reason) => dropped.push(`${id} ${reason}`), ...config });
  return { queue, dropped };
}

test("a stored message that gives way is not sent later, by this page or another one", async () => {
  const storage = new Memory();
  const { queue, dropped } = page(storage, { maxSize: 2 });
  const [low, other, high] = [queued(3), queued(3), queued(8)] as const;
  for (const message of [low, other]) queue.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(2);
  queue.enqueue(high, { persist: true });
  expect(dropped).toEqual([`${low.id} full`]);
  await expect.poll(() => [...storage.kept.keys()]).toEqual([other.id, high.id]);
  await queue.claim();
  expect(drain(queue)).toEqual([high, other]);
  expect(dropped).toHaveLength(1);
});

test("also one that gives way before it is stored, or while the storage fails", async () => {
  const storage = new Memory();
  const { queue } = page(storage, { maxSize: 1 });
  const [low, middle, high] = [queued(3), queued(5), queued(8)] as const;
  for (const message of [low, middle]) queue.enqueue(message, { persist: true });
  await expect.poll(() => [...storage.kept.keys()]).toEqual([middle.id]);
  storage.closed = true;
  queue.enqueue(high, { persist: true });
  await expect(queue.claim()).rejects.toThrow("closed");
  storage.closed = false;
  await queue.claim();
  expect(drain(queue)).toEqual([high]);
});

test("what an earlier page kept and has no room is told, and costs no other message", async () => {
  const storage = new Memory();
  const early = page(storage).queue;
  const kept = [queued(5), queued(5), queued(5)] as const;
  for (const message of kept) early.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(3);
  const { queue, dropped } = page(storage, { maxSize: 2 });
  await queue.claim();
  expect(dropped).toEqual([`${kept[2].id} full`]);
  expect(drain(queue)).toEqual(kept.slice(0, 2));
});

test("one that gives way while another page has taken it costs no other message", async () => {
  const storage = new Memory();
  const { queue } = page(storage, { maxSize: 2 });
  const [low, middle, high] = [queued(3), queued(5), queued(8)] as const;
  for (const message of [low, middle]) queue.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(2);
  storage.kept.delete(low.id);
  const takeAll = storage.takeAll.bind(storage);
  storage.takeAll = async (...of) => {
    queue.enqueue(high);
    return takeAll(...of);
  };
  await queue.claim();
  expect(drain(queue)).toEqual([high, middle]);
});

test("a stored message that has expired is told, whichever page notices", async () => {
  const storage = new Memory();
  const clock = { at: 1_000 };
  const now = () => clock.at;
  const [writer, later, stranger] = [page(storage, { now }), page(storage, { now }), page(storage, { now })];
  stranger.queue.setOwner("bob");
  const messages = [queued(5, {}, 2_000), queued(5, {}, 2_000), queued(5, {}, 9_000)] as const;
  for (const message of messages) writer.queue.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(3);
  clock.at = 2_000;
  // One of these is kept for a page that comes later; the other one is removed by another user's page.
  const [first, second, third] = messages;
  storage.kept.delete(second.id);
  await later.queue.claim();
  expect(later.dropped).toEqual([`${first.id} expired`]);
  expect(drain(later.queue)).toEqual([third]);
  await stranger.queue.claim();
  await writer.queue.claim();
  expect(drain(writer.queue)).toEqual([]);
  expect(writer.dropped).toEqual([`${third.id} taken`, `${first.id} expired`, `${second.id} expired`]);
});

test("what is sent though the storage failed is not sent again", async () => {
  const storage = new Memory();
  const { queue } = page(storage);
  const messages = [queued(5), queued(5)];
  for (const message of messages) queue.enqueue(message, { persist: true });
  await expect.poll(() => storage.kept.size).toBe(2);
  storage.closed = true;
  await expect(queue.claim()).rejects.toThrow("closed");
  expect(drain(queue)).toEqual(messages);
  storage.closed = false;
  await queue.claim();
  expect(drain(queue)).toEqual([]);
  expect(storage.kept.size).toBe(0);
});

test("a storage that was closed is opened anew", async () => {
  const storage = new Memory();
  const { queue } = page(storage);
  let closed = 0;
  storage.close = () => (closed++, undefined);
  storage.closed = true;
  await expect(queue.claim()).rejects.toThrow("closed");
  await expect.poll(() => closed).toBe(1);
});

test("what is being stored is cleared, too", async () => {
  const storage = new Memory();
  const { queue } = page(storage);
  queue.enqueue(queued(5), { persist: true });
  await queue.clear();
  await queue.claim();
  expect(drain(queue)).toEqual([]);
});

test("another user's messages are not sent as this one's", () => {
  const queue = new OfflineQueue();
  queue.setOwner("ann");
  queue.enqueue(queued(5));
  queue.setOwner("bob");
  expect(queue.peek()).toBeUndefined();
});

test("until it is known whose they are, messages are neither stored nor claimed", async () => {
  const storage = new Memory();
  const { queue } = page(storage);
  const [early, later] = [queued(5), queued(5)];
  await storage.put("", [later]);
  queue.setOwner(undefined);
  queue.enqueue(early, { persist: true });
  await queue.claim();
  expect([...storage.kept.keys()]).toEqual([later.id]);
  queue.setOwner("ann", true);
  expect(queue.getAll()).toEqual([early]);
  queue.persist();
  await expect.poll(() => storage.kept.get(early.id)?.owner).toBe("ann");
  queue.setOwner(undefined);
  expect(queue.size).toBe(0);
  // Of one who was never known, they are nobody else's.
  queue.enqueue(queued(5));
  queue.setOwner("bob");
  expect(queue.size).toBe(0);
});
