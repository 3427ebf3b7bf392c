import { errorRemedy, isSentAgain } from "./codes.js";
import { FanfareError } from "./errors.js";
import type { Frame } from "./link.js";

/** Requests that wait for an answer, or for a connection. */
const REQUESTS_MAX = 1000;

/** For how long the gateway knows a publication's key, less a margin. */
export const KEY_MS = 280_000;

/** The longest wait for a rate. */
const PAUSE_MS_MAX = 60_000;

/**
 * What becomes of a request when its connection is lost. `link`: it was about the connection, and is forgotten; `again`:
 * it is sent on the next one; `keyed`: likewise, for as long as its key is known; `once`: it fails if it was sent.
 */
export type Kind = "link" | "again" | "keyed" | "once";

interface Request {
  kind: Kind;
  /** Its text at the moment it is sent, without the id. */
  encode: () => string;
  done: (answer: Frame) => void;
  /** True where the answer is still to come. */
  fail: (error: unknown) => unknown;
  /** Characters sent on this connection, and when; when it was sent for the first time without an answer. */
  sent: number;
  at: number;
  first: number;
}

/**
 * Requests in their order, from the call to the answer, over any number of connections. `failure` says why there is none
 * to come.
 */
export function createRequests(
  failure: () => FanfareError | undefined,
  send: (text: string) => void,
  maySend: (kind: Kind) => unknown,
) {
  const requests = new Map<unknown, Request>();
  let lastId = 0;
  let pause: ReturnType<typeof setTimeout> | undefined;

  const end = (id: unknown) => {
    const request = requests.get(id);
    requests.delete(id);
    return request;
  };

  const unknown = (id: unknown) =>
    end(id)?.fail(new FanfareError("OUTCOME_UNKNOWN", "No answer: it may be done", "retry"));

  function flush(): void {
    for (const [id, request] of requests) {
      if (pause || request.sent || !maySend(request.kind)) continue;
      request.at = Date.now();
      if (request.kind === "keyed" && request.at - request.first > KEY_MS) {
        unknown(id);
      } else {
        // What a listener asks for meanwhile does not send it once more.
        request.sent = 1;
        const text = request.encode();
        request.sent = text.length;
        send(`${text.slice(0, -1)},"id":${id}}`);
      }
    }
  }

  /** Adds one, an object as JSON, and sends it as soon as it may be. Gives the id that it gets. */
  function add(kind: Kind, encode: Request["encode"], done: Request["done"], fail: Request["fail"]): number {
    requests.set(++lastId, { kind, encode, done, fail, sent: 0, at: 0, first: Infinity });
    flush();
    return lastId;
  }

  return {
    add,
    flush,

    /** A caller's request. */
    async ask(kind: Kind, message: Frame, { signal }: { signal?: AbortSignal | undefined } = {}): Promise<Frame> {
      const error = failure();
      if (error) throw error;
      signal?.throwIfAborted();
      if (requests.size >= REQUESTS_MAX) {
        throw new FanfareError("QUEUE_FULL", "Too many requests wait", "retry");
      }
      // As it is now, and not when it is sent.
      const text = JSON.stringify(message);
      let id: number;
      const abort = () => end(id)?.fail(signal!.reason);
      signal?.addEventListener("abort", abort);
      try {
        return await new Promise((resolve, reject) => {
          id = add(kind, () => text, resolve, reject);
        });
      } finally {
        signal?.removeEventListener("abort", abort);
      }
    },

    /** Takes an answer, if it is one. */
    answer(frame: Frame): boolean {
      const { type, id, code, message, details = {} } = frame;
      const request = requests.get(id);
      if (type !== "error") end(id)?.done(frame);
      else if (isSentAgain(code)) {
        // It was not taken.
        if (request) request.sent = 0;
        const delay = Math.min((details.retry_after || 1) * 1000, PAUSE_MS_MAX) + Math.random() * 1000;
        pause ??= setTimeout(() => {
          pause = undefined;
          flush();
        }, delay);
      } else {
        const error = new FanfareError(String(code), message, errorRemedy(code), details);
        if (!request?.fail(error)) requests.delete(id);
      }
      return !!request;
    },

    /** The connection is lost. */
    lost(): void {
      clearTimeout(pause);
      pause = undefined;
      for (const [id, request] of requests) {
        if (request.kind === "link") requests.delete(id);
        else if (request.sent) {
          // What was answered, be it that it is over a rate, is not published.
          request.first = Math.min(request.first, request.at);
          if (request.kind === "once") unknown(id);
        }
        request.sent = 0;
      }
    },

    /** Nothing is sent any more. */
    fail(error: FanfareError): void {
      for (const id of requests.keys()) end(id)?.fail(error);
    },

    /** One of those that were sent was too large. It is not sent again. */
    failLargest(): void {
      let most = 0;
      let largest: unknown;
      for (const [id, { sent }] of requests) if (sent > most) [most, largest] = [sent, id];
      end(largest)?.fail(new FanfareError("MESSAGE_TOO_LARGE", "Too large"));
    },
  };
}
