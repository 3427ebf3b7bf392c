import type { QueuedMessage } from "./types.js";

/** A message as it is kept: its payload as JSON, so that what a page holds and what is stored are the same. */
interface StoredMessage extends Omit<QueuedMessage, "payload"> {
  owner: string;
  json: string;
}

/** Where a queue keeps its messages beyond the page. */
export interface QueueStorage {
  put(owner: string, messages: readonly QueuedMessage[]): Promise<void>;
  /** Gives and removes, in one step, all messages of the owner that have not expired. What expired is removed, too. */
  takeAll(owner: string, now: number): Promise<QueuedMessage[]>;
  clear(): Promise<void>;
  close(): void;
}

const STORE = "messages";

/** In IndexedDB, shared by all pages of an origin: a message is taken by one of them. Rejects where there is none. */
export async function openIndexedDb(name = "fanfare_wse_queue"): Promise<QueueStorage> {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
  const db = await done(request);
  // Another page with a newer version must not wait for this one.
  db.onversionchange = () => db.close();

  const write = async <T>(work: (store: IDBObjectStore) => T): Promise<T> => {
    const transaction = db.transaction(STORE, "readwrite");
    const result = work(transaction.objectStore(STORE));
    await new Promise<void>((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("IndexedDB gave up"));
    });
    return result;
  };

  return {
    put: (owner, messages) =>
      write((store) => {
        for (const { payload, ...rest } of messages) store.add({ ...rest, owner, json: JSON.stringify(payload) });
      }),
    async takeAll(owner, now) {
      const taken: QueuedMessage[] = [];
      await write((store) => {
        // In the order in which they were stored.
        const request = store.openCursor();
        request.onsuccess = () => {
          const cursor = request.result;
          if (!cursor) return;
          const { owner: of, json, ...rest } = cursor.value as StoredMessage;
          const expired = !(rest.expires > now);
          if (expired || of === owner) cursor.delete();
          if (!expired && of === owner) taken.push({ ...rest, payload: JSON.parse(json) as unknown });
          cursor.continue();
        };
      });
      return taken;
    },
    clear: () => write((store) => void store.clear()),
    close: () => db.close(),
  };
}

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB gave up"));
  });
