import type { QueuedMessage } from "./types.js";

/** A message as it is kept: its payload as JSON, so that what a page holds and what is stored are the same. */
interface StoredMessage extends Omit<QueuedMessage, "payload"> {
  owner: string;
  json: string;
}

/** Where a queue keeps its messages beyond the page. */
export interface QueueStorage {
  put(owner: string, messages: readonly QueuedMessage[]): Promise<void>;
  /** Gives and removes, in one step, all messages of the owner, also expired ones. Of others those that expired are removed, too. */
  takeAll(owner: string, now: number): Promise<QueuedMessage[]>;
  /** Removes what is there of these. */
  remove(ids: ReadonlySet<string>): Promise<void>;
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

  /** Looks at all that is stored, in the order in which it was, and removes those for which `takes` is true. */
  const sweep = (takes: (stored: StoredMessage) => boolean) =>
    write((store) => {
      const request = store.openCursor();
      request.onsuccess = () => {
        const cursor = request.result;
        if (!cursor) return;
        if (takes(cursor.value as StoredMessage)) cursor.delete();
        cursor.continue();
      };
    });

  return {
    put: (owner, messages) =>
      write((store) => {
        for (const { payload, ...rest } of messages) store.add({ ...rest, owner, json: JSON.stringify(payload) ?? "null" });
      }),
    async takeAll(owner, now) {
      const taken: QueuedMessage[] = [];
      await sweep(({ owner: of, json, ...rest }) => {
        if (of === owner) taken.push({ ...rest, payload: JSON.parse(json) as unknown });
        return of === owner || !(rest.expires > now);
      });
      return taken;
    },
    remove: (ids) => sweep(({ id }) => ids.has(id)),
    clear: () => write((store) => void store.clear()),
    close: () => db.close(),
  };
}

const done = <T>(request: IDBRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB gave up"));
  });
