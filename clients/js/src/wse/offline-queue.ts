import { utf8Length } from "./bytes.js";
import type { Keeper } from "./keeper.js";
import { logger } from "./logger.js";
import { createKeeper } from "./on-demand.js";
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
  onDrop?: (message: QueuedMessage, reason: DropReason) => void;
  now?: () => number;
}

/** A message in the queue. */
export interface Waiting {
  message: QueuedMessage;
  bytes: number;
  /** Whether it is in the storage, or about to be. */
  stored: boolean;
}

type DropReason = "full" | "expired" | "taken" | "owner";

/**
 * Messages that wait to be sent: urgent ones first, those of a priority in their order.
 *
 * A full queue gives up the oldest message of the lowest priority below that of the new one; where there is none the new
 * one is refused. A message is sent once at most, also where several pages share the storage.
 */
export class OfflineQueue {
  #waiting: Waiting[] = [];
  #bytes = 0;
  #keeper: Promise<Keeper | undefined> | undefined;
  /** Whose messages these are; those of others are not sent. `undefined`: not known yet. */
  #owner: string | undefined = "";
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

  /** Loads what stores messages, so that it is there when the network is not. */
  async initialize(): Promise<void> {
    await this.#keep();
  }

  /**
   * Says whose messages these are from now on. Those that wait for another one are forgotten here, and stay stored. Where it is
   * `undefined` it is not known yet, and nothing is stored; whether those that wait then are the next owner's, `adopts` says.
   */
  setOwner(owner: string | undefined, adopts = false): void {
    const stay = this.#owner === undefined ? adopts : this.#owner === owner;
    this.#owner = owner;
    if (!stay) while (this.size > 0) this.#drop(0, "owner");
  }

  /** Takes a message; false where it is full of what is as urgent. `limit` is a smaller size for this one. */
  enqueue(message: QueuedMessage, { persist = false, limit = Infinity } = {}): boolean {
    const bytes = utf8Length(JSON.stringify(message.payload) ?? "");
    const { maxSize, memoryLimit } = this.#config;
    while (this.size >= Math.min(maxSize, limit) || this.#bytes + bytes > memoryLimit) {
      const last = this.#waiting.at(-1);
      if (!last || last.message.priority >= message.priority || bytes > memoryLimit) return false;
      // Sorted by priority, then order: the oldest of the lowest is the first of its priority.
      const oldest = this.#waiting.findIndex(({ message: { priority } }) => priority === last.message.priority);
      this.#drop(oldest, "full");
    }
    // Behind the last one that is as urgent, which is near the end where most are.
    let at = this.size;
    while (at > 0 && (this.#waiting[at - 1] as Waiting).message.priority < message.priority) at--;
    const item = { message, bytes, stored: false };
    this.#waiting.splice(at, 0, item);
    this.#bytes += bytes;
    if (persist) this.#store([item]);
    return true;
  }

  /**
   * Claims what is stored before any of it is sent: messages of an earlier page join the queue, those that another page
   * has taken leave it. Rejects where the storage fails; then what this page has may be sent, and is not claimed later.
   */
  async claim(): Promise<void> {
    const keeper = await this.#keep();
    const owner = this.#owner;
    if (!keeper || owner === undefined) return;
    await keeper.claim(owner, this.#now(), this.#waiting.filter(({ stored }) => stored), {
      isCurrent: () => owner === this.#owner,
      onTaken: (item) => this.#drop(this.#waiting.indexOf(item), "taken"),
      enqueue: (message) => this.enqueue(message),
      onDrop: this.#config.onDrop,
    });
  }

  /** The message to send next, which stays until {@link shift}. Expired ones are dropped. */
  peek(): QueuedMessage | undefined {
    while (this.#waiting[0] && this.#waiting[0].message.expires <= this.#now()) this.#drop(0, "expired");
    return this.#waiting[0]?.message;
  }

  shift(): QueuedMessage | undefined {
    return this.#remove(0)?.message;
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
    await (await this.#keep())?.clear();
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
    void this.#keeper?.then((keeper) => keeper?.close());
  }

  #drop(index: number, reason: DropReason): void {
    const item = this.#remove(index, reason === "owner");
    if (item) this.#config.onDrop?.(item.message, reason);
  }

  /** Takes one out, if it is there, for good: it must not be sent by a later page either, unless it `stays` stored. */
  #remove(index: number, stays = false): Waiting | undefined {
    const item = this.#waiting[index];
    if (!item) return undefined;
    this.#waiting.splice(index, 1);
    this.#bytes -= item.bytes;
    if (item.stored && !stays) void this.#keep().then((keeper) => keeper?.remove(item.message.id));
    return item;
  }

  #store(items: Waiting[]): void {
    const owner = this.#owner;
    if (items.length === 0 || owner === undefined || !this.#config.persistToStorage) return;
    for (const item of items) item.stored = true;
    void this.#keep().then((keeper) => keeper?.put(owner, items));
  }

  /** What stores messages, if any does. */
  #keep(): Promise<Keeper | undefined> {
    const { persistToStorage, storage } = this.#config;
    if (!persistToStorage) return Promise.resolve(undefined);
    return (this.#keeper ??= createKeeper(storage, logger).catch((error: unknown) => {
      logger.warn("messages do not outlive the page:", error);
      return undefined;
    }));
  }
}
