import type { logger } from "./logger.js";
import type { OfflineQueueConfig, Waiting } from "./offline-queue.js";
import { type QueueStorage, openIndexedDb } from "./queue-storage.js";
import type { QueuedMessage } from "./types.js";

export { openIndexedDb };

/** What a claim says of messages to the queue that makes it. */
export interface Claimant {
  /** Whether the messages are still those of the owner for whom they were claimed. */
  isCurrent(): boolean;
  /** Another page has taken it. */
  onTaken(item: Waiting): void;
  /** One of an earlier page joins; false where there is no room. */
  enqueue(message: QueuedMessage): boolean;
  onDrop: OfflineQueueConfig["onDrop"];
}

/** Keeps the messages of a queue in a storage. All is done in the order in which it was asked for. */
export class Keeper {
  #storage: Promise<QueueStorage | undefined> | undefined;
  #work: Promise<unknown> = Promise.resolve();
  /** Ids of what left the queue and is still stored, at most as many as are: before another claim they are removed. */
  readonly #gone = new Set<string>();

  /** `own` instead of IndexedDB. */
  constructor(
    private readonly own: QueueStorage | undefined,
    private readonly log: typeof logger,
  ) {}

  /** Stores what waits. What cannot be stored is no longer marked. */
  put(owner: string, items: readonly Waiting[]): void {
    const put = async (storage: QueueStorage) => {
      await storage.put(owner, items.map(({ message }) => message));
      return true;
    };
    const failed = (error?: unknown) => {
      for (const item of items) {
        item.stored = false;
        this.#gone.delete(item.message.id);
      }
      this.log.debug("not stored:", error ?? "there is no IndexedDB");
    };
    void this.#use(put).then((isStored) => isStored || failed(), failed);
  }

  /** One that is stored was sent, or dropped: no page may send it later. */
  remove(id: string): void {
    // Once for all that leave until then. What fails is tried again by the next claim.
    if (this.#gone.add(id).size > 1) return;
    this.#use((storage) => this.#removeGone(storage)).catch((error: unknown) => this.log.debug("not removed:", error));
  }

  /** Takes all that is stored of an owner, `candidates` of this page among it. */
  async claim(owner: string, now: number, candidates: readonly Waiting[], { isCurrent, onTaken, enqueue, onDrop }: Claimant): Promise<void> {
    const stored = await this.#use(async (storage) => {
      await this.#removeGone(storage);
      return storage.takeAll(owner, now);
    });
    // Without a storage nobody else has them.
    if (!stored) return;
    const taken = new Map(stored.map((message) => [message.id, message]));
    if (!isCurrent()) return void (await this.#use((storage) => storage.put(owner, [...taken.values()])));
    for (const item of candidates) {
      // One that is no longer marked could not be stored, so no other page has it. The queue itself tells of expired ones.
      const mine = taken.delete(item.message.id) || !item.stored || item.message.expires <= now;
      item.stored = false;
      if (!mine) onTaken(item);
    }
    for (const message of [...taken.values()].sort((a, b) => a.timestamp - b.timestamp)) {
      if (!(message.expires > now)) onDrop?.(message, "expired");
      else if (!enqueue(message)) onDrop?.(message, "full");
    }
  }

  async clear(): Promise<void> {
    await this.#use((storage) => storage.clear());
  }

  /** Lets go of the storage, behind all that is to be done. It is opened anew when there is more. */
  close(): void {
    this.#work = this.#work.then(() => this.#close());
  }

  #close(): void {
    void this.#storage?.then((storage) => storage?.close());
    this.#storage = undefined;
  }

  async #removeGone(storage: QueueStorage): Promise<void> {
    const ids = new Set(this.#gone);
    if (ids.size === 0) return;
    this.#gone.clear();
    try {
      await storage.remove(ids);
    } catch (error) {
      for (const id of ids) this.#gone.add(id);
      throw error;
    }
  }

  /** Does something with the storage, where there is one. One that has failed is opened anew the next time. */
  #use<T>(work: (storage: QueueStorage) => Promise<T>): Promise<T | undefined> {
    const done = this.#work.then(async () => {
      const storage = await (this.#storage ??= this.#open());
      return storage && work(storage);
    });
    this.#work = done.catch(() => this.#close());
    return done;
  }

  async #open(): Promise<QueueStorage | undefined> {
    if (this.own || typeof indexedDB === "undefined") return this.own;
    try {
      return await openIndexedDb();
    } catch (error) {
      this.log.warn("messages do not outlive the page:", error);
      // Another time there may be one.
      this.#storage = undefined;
      return undefined;
    }
  }
}
