import { utf8Length } from "./bytes.js";
import { logger } from "./logger.js";
import { openIndexedDb } from "./on-demand.js";
import type { QueueStorage } from "./queue-storage.js";
import type { QueueStats, QueuedMessage } from "./types.js";

export interface OfflineQueueConfig {
  /** Messages that it holds. */
  maxSize: number;
  /** Bytes of JSON that it holds. */
  memoryLimit: number;
  /** Whether messages outlive the page, where there is IndexedDB. */
  persistToStorage: boolean;
  /** Instead of IndexedDB. */
  storage?: QueueStorage;
  /** A message left the queue unsent: it gave way, it expired, another page has sent it, or its user is another one. */
  onDrop?: (message: QueuedMessage, reason: "full" | "expired" | "taken" | "owner") => void;
  now?: () => number;
}

interface Waiting {
  message: QueuedMessage;
  bytes: number;
  order: number;
  stored: boolean;
}

/**
 * Messages that wait to be sent: urgent ones first, those of a priority in their order.
 *
 * A full queue gives up the oldest message of the lowest priority below that of the new one; where there is none the new
 * one is refused. A message is sent once at most, also where several pages share the storage.
 */
export class OfflineQueue {
  #waiting: Waiting[] = [];
  #bytes = 0;
  #order = 0;
  #storage: Promise<QueueStorage | undefined> | undefined;
  /** What is on its way to the storage: nothing is claimed before it has arrived, or failed to. */
  #writing: Promise<void> = Promise.resolve();
  /** Whose messages these are; those of others are not sent. */
  #owner = "";
  readonly #config: OfflineQueueConfig;
  readonly #now: () => number;

  constructor(config: Partial<OfflineQueueConfig> = {}) {
    this.#config = { maxSize: 1_000, memoryLimit: 50 * 1_048_576, persistToStorage: false, ...config };
    this.#now = config.now ?? Date.now;
  }

  get size(): number {
    return this.#waiting.length;
  }

  get capacity(): number {
    return this.#config.maxSize;
  }

  /** Opens the storage, so that it is there when the network is not. */
  async initialize(): Promise<void> {
    await this.#open();
  }

  /** Says whose messages these are from now on. Those that wait for another one are forgotten here, and stay stored. */
  setOwner(owner: string): void {
    if (owner === this.#owner) return;
    this.#owner = owner;
    while (this.size > 0) this.#drop(0, "owner");
  }

  /** Takes a message; false where it is full of what is as urgent. `limit` is a smaller size for this one. */
  enqueue(message: QueuedMessage, { persist = false, limit = Infinity } = {}): boolean {
    const bytes = utf8Length(JSON.stringify(message.payload) ?? "");
    const { maxSize, memoryLimit } = this.#config;
    while (this.#waiting.length >= Math.min(maxSize, limit) || this.#bytes + bytes > memoryLimit) {
      const last = this.#waiting.at(-1);
      if (!last || last.message.priority >= message.priority || bytes > memoryLimit) return false;
      // Sorted by priority, then order: the oldest of the lowest is the first of its priority.
      const oldest = this.#waiting.findIndex(({ message: { priority } }) => priority === last.message.priority);
      this.#drop(oldest, "full");
    }
    this.#insert({ message, bytes, order: this.#order++, stored: false });
    if (persist) this.#store(this.#waiting.filter((item) => item.message === message));
    return true;
  }

  /**
   * Claims what is stored before any of it is sent: messages of an earlier page join the queue, those that another page
   * has taken leave it.
   */
  async claim(): Promise<void> {
    const owner = this.#owner;
    const storage = await this.#open();
    if (!storage) return;
    await this.#writing;
    const candidates = this.#waiting.filter((item) => item.stored);
    const taken = new Map((await storage.takeAll(owner, this.#now())).map((message) => [message.id, message]));
    if (owner !== this.#owner) return void (await storage.put(owner, [...taken.values()]));
    for (const item of candidates) {
      // One that is no longer marked could not be stored, so no other page has it.
      const mine = taken.delete(item.message.id) || !item.stored;
      item.stored = false;
      if (!mine) this.#drop(this.#waiting.indexOf(item), "taken");
    }
    for (const message of [...taken.values()].sort((a, b) => a.timestamp - b.timestamp)) this.enqueue(message);
  }

  /** The message to send next, which stays until {@link shift}. Expired ones are dropped. */
  peek(): QueuedMessage | undefined {
    while (this.#waiting[0] && this.#waiting[0].message.expires <= this.#now()) this.#drop(0, "expired");
    return this.#waiting[0]?.message;
  }

  shift(): QueuedMessage | undefined {
    const first = this.#waiting.shift();
    if (first) this.#bytes -= first.bytes;
    return first?.message;
  }

  /** Stores what waits, for when the connection is lost before all of it was sent. */
  persist(): void {
    this.#store(this.#waiting.filter(({ stored }) => !stored));
  }

  getAll(): QueuedMessage[] {
    return this.#waiting.map(({ message }) => message);
  }

  async clear(): Promise<void> {
    this.#waiting = [];
    this.#bytes = 0;
    await (await this.#storage)?.clear();
  }

  getStats(): QueueStats {
    const { size, capacity } = this;
    const oldest = Math.min(...this.#waiting.map(({ message }) => message.timestamp));
    const oldestMessageAge = size > 0 ? this.#now() - oldest : null;
    const utilizationPercent = (size / capacity) * 100;
    return { size, capacity, utilizationPercent, backpressure: utilizationPercent > 80, oldestMessageAge };
  }

  /** Lets go of the storage; what is in it stays there. */
  destroy(): void {
    void this.#storage?.then((storage) => storage?.close());
    this.#storage = undefined;
  }

  #insert(item: Waiting): void {
    // The last place before one that is less urgent.
    let [low, high] = [0, this.#waiting.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#waiting[middle] as Waiting).message.priority >= item.message.priority) low = middle + 1;
      else high = middle;
    }
    this.#waiting.splice(low, 0, item);
    this.#bytes += item.bytes;
  }

  #drop(index: number, reason: "full" | "expired" | "taken" | "owner"): void {
    const [item] = this.#waiting.splice(index, 1);
    if (!item) return;
    this.#bytes -= item.bytes;
    this.#config.onDrop?.(item.message, reason);
  }

  #store(items: Waiting[]): void {
    if (items.length === 0 || !this.#config.persistToStorage) return;
    for (const item of items) item.stored = true;
    const owner = this.#owner;
    this.#writing = this.#writing
      .then(async () => {
        const storage = await this.#open();
        if (!storage) throw new Error("there is no IndexedDB");
        await storage.put(owner, items.map(({ message }) => message));
      })
      .catch((error: unknown) => {
        for (const item of items) item.stored = false;
        logger.debug("not stored:", error);
      });
  }

  #open(): Promise<QueueStorage | undefined> {
    if (!this.#config.persistToStorage) return Promise.resolve(undefined);
    const storage = this.#config.storage;
    return (this.#storage ??= storage
      ? Promise.resolve(storage)
      : typeof indexedDB === "undefined"
        ? Promise.resolve(undefined)
        : openIndexedDb().catch((error: unknown) => {
            logger.warn("messages do not outlive the page:", error);
            return undefined;
          }));
  }
}
