import { backoff } from "../core/backoff.js";
import { type Client, randomKey } from "../core/client.js";
import { createEmitter } from "../core/emitter.js";
import { FanfareError } from "../core/errors.js";
import { KEY_MS } from "../core/requests.js";
import { type Entry, openStorage } from "./storage.js";

/** Delays after what may help later, in milliseconds. */
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 20_000;

export interface QueueOptions {
  /**
   * Of the database. Pages of one origin that give the same name share the queue, and whichever is connected sends from
   * it: have a name for each user. `fanfare-queue` unless it is given.
   */
  name?: string | undefined;
  /** Publications that wait, of all pages together (1,000). Beyond it `publish` rejects with `QUEUE_FULL`. */
  limit?: number | undefined;
}

export interface Publication {
  readonly topic: string;
  readonly data: unknown;
  readonly key: string;
}

export interface QueueEvents {
  /** The gateway has it. Told where it was sent from, which may be another page than it was queued in. */
  sent: Publication & { readonly offset: number };
  /**
   * It is not in the queue any more: the gateway refuses it, and those behind it go on. With `OUTCOME_UNKNOWN` it may
   * have been published: its acknowledgement did not come for as long as the gateway knows keys. Queue it again with
   * another key if it may come twice. Without a listener it goes to the console.
   */
  refused: Publication & { readonly error: FanfareError };
  /** The storage failed while sending, which is tried again. Without a listener it goes to the console. */
  error: unknown;
}

/** Publications that wait in the browser until the gateway has them. Made by {@link openQueue}. */
export interface Queue {
  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof QueueEvents>(type: Type, listener: (value: QueueEvents[Type]) => unknown): () => void;
  /**
   * Resolves with its key when it is stored; from then on it survives the page. One whose topic and key wait already is
   * not queued again. Rejects with `QUEUE_FULL`, with `NO_STORAGE`, or with what the browser's storage says.
   */
  publish(topic: string, data: unknown, options?: { key?: string | undefined }): Promise<string>;
  /** What waits, in its order. */
  list(): Promise<Publication[]>;
  /** Forgets what waits. What is being sent may be published all the same. */
  clear(): Promise<void>;
  /** Sends nothing any more. What waits stays for the next page. */
  close(): void;
}

/**
 * A queue of publications in IndexedDB, that `client` sends while it is connected: in the order of their `publish`, one
 * after the other, each once. One page sends at a time.
 */
export function openQueue(client: Client, options: QueueOptions = {}): Queue {
  const { name = "fanfare-queue", limit = 1000 } = options;
  const storage = openStorage(name);
  const events = createEmitter<QueueEvents>(report);
  const closed = new AbortController();
  /** Ends the wait for an answer when the connection is lost: another page may have one. */
  let offline = new AbortController();
  let isSending = false;
  let isWanted = false;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let attempts = 0;

  const mayBeSent = () => client.state === "open" && !closed.signal.aborted;

  function report(error: unknown): void {
    if (events.heard("error")) events.emit("error", error, console.error);
    else console.error(error);
  }

  /** Sends what there is, and then what has come meanwhile. */
  async function send(): Promise<void> {
    isWanted = true;
    // On a server there is nothing to send.
    if (isSending || retry || !globalThis.indexedDB) return;
    isSending = true;
    while (isWanted && mayBeSent()) {
      isWanted = false;
      try {
        await alone(sendAll);
      } catch (error) {
        if (closed.signal.aborted) break;
        if (!(error instanceof FanfareError)) report(error);
        retry = setTimeout(again, backoff(attempts++, RETRY_MS_MIN, RETRY_MS_MAX));
        break;
      }
    }
    isSending = false;
  }

  /** Without waiting any longer. */
  function again(): void {
    clearTimeout(retry);
    retry = undefined;
    void send();
  }

  /** While no other page does. Without locks, as over plain HTTP, each sends: keys and order hold all the same. */
  async function alone(use: () => Promise<void>): Promise<void> {
    const { locks } = globalThis.navigator ?? {};
    await (locks ? locks.request(`fanfare-queue:${name}`, { signal: closed.signal }, use) : use());
  }

  /** Throws what may help later. */
  async function sendAll(): Promise<void> {
    while (mayBeSent()) {
      const [entry] = await storage.list(1);
      if (!entry || !mayBeSent() || !(await sendOne(entry))) return;
      attempts = 0;
      await storage.remove(entry.id);
    }
  }

  /** False if it has to be sent again, on another connection. */
  async function sendOne(entry: Entry): Promise<boolean> {
    const { topic, key, sent } = entry;
    const publication: Publication = { topic, key, data: JSON.parse(entry.data) };
    const { signal } = (offline = new AbortController());
    try {
      if (sent && Date.now() - sent > KEY_MS) {
        throw new FanfareError("OUTCOME_UNKNOWN", "No acknowledgement came: it may have been published");
      }
      if (!sent) await storage.update({ ...entry, sent: Date.now() });
      const offset = await client.publish(topic, publication.data, { key, signal });
      events.emit("sent", { ...publication, offset });
      return true;
    } catch (error) {
      if (error === signal.reason || /ended|closed/.test(client.state)) return false;
      if (!(error instanceof FanfareError)) throw error;
      const { code, remedy } = error;
      if (remedy === "retry" && code !== "OUTCOME_UNKNOWN") {
        // It was not taken.
        await storage.update({ ...entry, sent: undefined });
        throw error;
      }
      if (events.heard("refused")) events.emit("refused", { ...publication, error });
      else console.error(`A publication to ${topic} was refused:`, error);
      return true;
    }
  }

  const off = client.on("state", ({ state }) => {
    if (state === "open") again();
    else offline.abort();
  });
  void send();

  return {
    on: events.on,
    async publish(topic, data, { key = randomKey() } = {}) {
      closed.signal.throwIfAborted();
      // As it is now. The gateway takes `null` for what is no JSON, too.
      const entry = { topic, key, data: JSON.stringify(data) ?? "null" };
      if (!(await storage.add(entry, limit))) {
        throw new FanfareError("QUEUE_FULL", `${limit} publications wait in the queue`, "retry");
      }
      void send();
      return key;
    },
    async list() {
      return (await storage.list()).map(({ topic, key, data }) => ({ topic, key, data: JSON.parse(data) }));
    },
    clear: storage.clear,
    close() {
      off();
      clearTimeout(retry);
      closed.abort(new FanfareError("CLOSED", "The queue was closed"));
      offline.abort();
      storage.close();
    },
  };
}
