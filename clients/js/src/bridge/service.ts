import { FanfareError, type Remedy } from "../core/errors.js";

/** Characters of one answer. What has more is taken for broken. */
const ANSWER_CHARS_MAX = 16 * 1024 * 1024;

export interface ServiceOptions {
  /** An API key or a token of a service, or what gives one, where the gateway asks for it. */
  key?: string | (() => string | PromiseLike<string>) | undefined;
  /** Instead of the runtime's. */
  fetch?: typeof fetch | undefined;
  /** Where the gateway is configured with others. */
  paths?: { push?: string; batch?: string; send?: string } | undefined;
}

export interface AskOptions {
  /** What connections of the events protocol have it named. */
  event_type?: string | undefined;
  /** Gives up. What was sent may be delivered all the same. */
  signal?: AbortSignal | undefined;
}

export interface Push {
  user: string;
  data: object;
  event_type?: string | undefined;
}

export interface Delivery {
  readonly user: string;
  /** Whether the user is connected, and it is on its way. */
  readonly delivered: boolean;
  /** Why it failed, where it did. */
  readonly error?: string | undefined;
}

/**
 * A service's side of the bridge. Everything rejects with a {@link FanfareError}: its `code` says what for, `details` the
 * `status` and, where the gateway gives it, `retry_after` in seconds. Nothing is sent again by itself.
 */
export interface Service {
  /** Sends an object to a user. False if the user is not connected: nothing is kept. */
  push(user: string, data: object, options?: AskOptions): Promise<boolean>;
  /** Sends many. One that is not valid is the end of all. */
  batch(pushes: readonly Push[], options?: Pick<AskOptions, "signal">): Promise<Delivery[]>;
  /**
   * Asks a user, and gives the answers while they come; the last one has `is_final`. Leaving the loop ends the question.
   * Throws `NOT_CONNECTED`, `TIMEOUT` (the user was silent for too long), `TOO_SLOW` (you were) or `CONNECTION_LOST`.
   */
  ask<T = any>(user: string, data: object, options?: AskOptions): AsyncGenerator<T, void, undefined>;
}

/** Pushes to users and asks them, through the gateway at `url`, as `https://host`. */
export function createService(url: string | URL, options: ServiceOptions = {}): Service {
  const { key, paths, fetch = globalThis.fetch } = options;
  const base = String(url).replace(/\/$/, "");

  async function post(path: string, body: unknown, signal: AbortSignal | undefined): Promise<Response> {
    signal?.throwIfAborted();
    const given = typeof key === "function" ? await key() : key;
    const headers = { "Content-Type": "application/json", ...(given && { Authorization: `Bearer ${given}` }) };
    const init: RequestInit = { method: "POST", headers, body: JSON.stringify(body), ...(signal && { signal }) };
    const answer = await guard(signal, () => fetch(base + path, init));
    if (answer.ok) return answer;
    const detail = await answer.text().catch(() => "");
    const [code, remedy] = refusals[answer.status] ?? ["INVALID_MESSAGE", "fix"];
    const retry_after = Number(answer.headers.get("retry-after")) || undefined;
    throw new FanfareError(code, `The gateway answered ${answer.status}: ${detail.slice(0, 1000)}`, remedy, {
      status: answer.status,
      ...(retry_after && { retry_after }),
    });
  }

  const message = ({ user: user_id, data, event_type }: Push) => ({ user_id, data, event_type });

  return {
    async push(user, data, { event_type, signal } = {}) {
      const answer = await post(paths?.push ?? "/sse/push", message({ user, data, event_type }), signal);
      return guard(signal, async () => (await answer.json()).status === "success");
    },

    async batch(pushes, { signal } = {}) {
      const answer = await post(paths?.batch ?? "/sse/push/batch", pushes.map(message), signal);
      const delivery = ({ user_id: user, success: delivered, error }: any): Delivery => ({ user, delivered, error });
      return guard(signal, async () => (await answer.json()).results.map(delivery));
    },

    async *ask(user, data, { event_type, signal } = {}) {
      const answer = await post(paths?.send ?? "/sse/send", message({ user, data, event_type }), signal);
      const reader = answer.body!.getReader();
      const decoder = new TextDecoder();
      let text = "";
      let isFinal = false;
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) break;
          text += decoder.decode(value, { stream: true });
          const lines = text.split("\n");
          text = lines.pop()!;
          if (text.length > ANSWER_CHARS_MAX) throw new Error("an answer is too long");
          for (const line of lines) {
            if (!line.startsWith("data:")) continue;
            const event = JSON.parse(line.slice(5));
            const end = Object.keys(event).length === 2 && ends.get(event.error);
            if (end) throw new FanfareError(end, event.error, end === "TOO_SLOW" ? "fix" : "retry");
            isFinal = !!event.is_final;
            yield event;
          }
        }
        if (!isFinal) throw new Error("the answers ended before the last one");
      } catch (cause) {
        throw failure(signal, cause);
      } finally {
        reader.cancel().catch(() => {});
      }
    },
  };
}

/** What fails is a connection that is lost, unless it was given up, or the gateway said why. */
function failure(signal: AbortSignal | undefined, cause: unknown): unknown {
  if (signal?.aborted) return signal.reason;
  if (cause instanceof FanfareError) return cause;
  return new FanfareError("CONNECTION_LOST", `No answer: ${cause}`, "retry", {}, cause);
}

async function guard<T>(signal: AbortSignal | undefined, use: () => Promise<T>): Promise<T> {
  try {
    return await use();
  } catch (cause) {
    throw failure(signal, cause);
  }
}

/** Statuses of the gateway; all others are `INVALID_MESSAGE`. */
const refusals: Record<number, [code: string, remedy: Remedy]> = {
  401: ["AUTHENTICATION_FAILED", "token"],
  403: ["FORBIDDEN", "token"],
  409: ["IN_USE", "fix"],
  413: ["MESSAGE_TOO_LARGE", "fix"],
  429: ["RATE_LIMIT_EXCEEDED", "retry"],
  502: ["BUSY", "retry"],
  503: ["BUSY", "retry"],
  504: ["OUTCOME_UNKNOWN", "retry"],
};

/** What ends a question instead of an answer, by the gateway's text. */
const ends = new Map([
  ["User not connected", "NOT_CONNECTED"],
  ["Timeout waiting for response", "TIMEOUT"],
  ["Answers are read too slowly", "TOO_SLOW"],
  ["Server shutdown", "CONNECTION_LOST"],
]);
