import { FanfareError } from "../core/errors.js";

/** A publication that waits. */
export interface Entry {
  /** Counts in the order in which they are sent. */
  readonly id: number;
  readonly topic: string;
  readonly key: string;
  /** JSON. */
  readonly data: string;
  /** When it may have been sent for the first time, in milliseconds since 1970. */
  readonly sent?: number | undefined;
}

const STORE = "publications";

/** The entries, in a database that all pages of the origin share. What two of them do at once is done one after the other. */
export function openStorage(name: string) {
  let opened: Promise<IDBDatabase> | undefined;

  const open = () =>
    new Promise<IDBDatabase>((resolve, reject) => {
      if (!globalThis.indexedDB) throw new FanfareError("NO_STORAGE", "This runtime has no IndexedDB");
      const request = indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        const store = request.result.createObjectStore(STORE, { keyPath: "id", autoIncrement: true });
        store.createIndex("key", ["topic", "key"]);
      };
      request.onerror = () => reject(request.error);
      request.onsuccess = () => {
        const database = request.result;
        // A user clears this site's data, or a newer page changes it: the next use opens it anew.
        database.onclose = database.onversionchange = close;
        resolve(database);
      };
    });

  /** Resolves when all that `use` does is stored, with what it has given by then. */
  async function run<T>(mode: IDBTransactionMode, use: (store: IDBObjectStore, give: (value: T) => void) => void) {
    opened ??= open();
    opened.catch(() => (opened = undefined));
    const database = await opened;
    return new Promise<T>((resolve, reject) => {
      const transaction = database.transaction(STORE, mode);
      let value: T;
      transaction.oncomplete = () => resolve(value);
      transaction.onabort = () => reject(transaction.error);
      use(transaction.objectStore(STORE), (given) => (value = given));
    });
  }

  function close(): void {
    void opened?.then((database) => database.close()).catch(() => {});
    opened = undefined;
  }

  return {
    /** Adds an entry, unless its key waits already. False if there are `limit`. */
    add: (entry: Omit<Entry, "id">, limit: number) =>
      run<boolean>("readwrite", (store, give) => {
        store.index("key").count([entry.topic, entry.key]).onsuccess = ({ target }) => {
          if ((target as IDBRequest<number>).result) return give(true);
          store.count().onsuccess = ({ target }) => {
            const hasRoom = (target as IDBRequest<number>).result < limit;
            if (hasRoom) store.add(entry);
            give(hasRoom);
          };
        };
      }),
    /** The first ones, in their order. */
    list: (count?: number) =>
      run<Entry[]>("readonly", (store, give) => {
        store.getAll(null, count).onsuccess = ({ target }) => give((target as IDBRequest<Entry[]>).result);
      }),
    /** Changes one, unless it was removed. */
    update: (entry: Entry) =>
      run<void>("readwrite", (store) => {
        store.getKey(entry.id).onsuccess = ({ target }) => {
          if ((target as IDBRequest).result) store.put(entry);
        };
      }),
    remove: (id: number) => run<void>("readwrite", (store) => void store.delete(id)),
    clear: () => run<void>("readwrite", (store) => void store.clear()),
    close,
  };
}
