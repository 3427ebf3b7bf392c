import { backoff } from "./backoff.js";
import { closeRemedy } from "./codes.js";
import { createEmitter } from "./emitter.js";
import { FanfareError } from "./errors.js";
import type { Frame, Link, Listener } from "./link.js";
import type { Options, Token, TokenReason } from "./options.js";
import { createRequests } from "./requests.js";
import { INBOX, type Subscription, type SubscriptionOptions } from "./subscription.js";
import { createTopics } from "./topics.js";
import { createWatch } from "./watch.js";
import { constructorOf, openWebSocket } from "./websocket.js";

/**
 * `connecting`: a token is asked for, or a connection is made; `open`: the gateway has confirmed the connection;
 * `waiting`: the next attempt comes by itself; `ended`: given up, `error` says why; `closed`: by `close()`.
 * `reconnect()` connects in every state.
 */
export type State = "connecting" | "open" | "waiting" | "ended" | "closed";

export interface Status {
  readonly state: State;
  /** Why it is not open. */
  readonly error?: FanfareError;
  /** Of `waiting`: milliseconds until the next attempt. */
  readonly delay?: number;
}

/** The gateway's greeting: who it takes this client for. */
export interface Session {
  /** Null over SSE, as all of it. */
  readonly client_id: string | null;
  /** The token's user; null without one. */
  readonly user: string | null;
  readonly name: string | null;
  readonly role: string | null;
}

export interface ClientEvents {
  state: Status;
  /** What no subscription and no request has taken: broadcasts, messages of an application, frames of newer gateways. */
  message: Frame;
  /**
   * A frame that is none, a listener that threw, a gap that nothing listens for. Without a listener it goes to the
   * console. Connections that are lost are states, and no errors.
   */
  error: unknown;
}

export interface RequestOptions {
  /** Gives up waiting. What was sent may be done all the same. */
  signal?: AbortSignal | undefined;
}

export interface PublishOptions extends RequestOptions {
  /**
   * Makes it idempotent for five minutes: the gateway publishes it once to the topic. Drawn at random if it is not
   * given.
   */
  key?: string | undefined;
}

/** A connection to a gateway that comes back. Made by {@link connect}. */
export interface Client {
  readonly state: State;
  /** The state and why it is so. The same object until it changes. */
  readonly status: Status;
  /** Who the gateway takes this client for; undefined before the first connection. */
  readonly session: Session | undefined;
  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof ClientEvents>(type: Type, listener: (value: ClientEvents[Type]) => unknown): () => void;
  /**
   * Subscribes to a topic, or to a pattern such as `agent.*`. Any number of subscriptions to one name cost the gateway
   * one.
   */
  subscribe<T = unknown>(name: string, options?: SubscriptionOptions): Subscription<T>;
  /**
   * What is for this client's user alone. It takes a token, and no permission. Give `since` before the client has
   * connected, or it connects anew.
   */
  inbox<T = unknown>(options?: SubscriptionOptions): Subscription<T>;
  /**
   * Publishes and gives the offset in the topic. It waits for a connection, and is sent again with its key until the
   * gateway acknowledges it, so that it is published once. Rejects with the gateway's refusal; with `OUTCOME_UNKNOWN`
   * if it was not acknowledged for as long as keys are known; with `QUEUE_FULL` when 1,000 requests wait.
   */
  publish(topic: string, data: unknown, options?: PublishOptions): Promise<number>;
  /**
   * Asks the gateway: `presence`, `history`, `server_info` and others of docs/protocol.md. Asked again on the next
   * connection until it is answered.
   */
  query<T = any>(query: string, params?: object, options?: RequestOptions): Promise<T>;
  /**
   * Sends any message of the events protocol, such as `{ type: "app", data }`, and gives the answer. If the connection
   * is lost before it comes, it rejects with `OUTCOME_UNKNOWN`: only you know whether to ask again. An `id` of the
   * message is replaced. A batch is answered only if it is refused; see README.md.
   */
  request(message: Frame, options?: RequestOptions): Promise<Frame>;
  /**
   * Goes on with another token, after a login, a logout or a change of permissions: connects anew and resumes. With an
   * argument that takes the place of the option `token`. A token that is about to end is renewed without this.
   */
  authenticate(token?: Token): void;
  /** Connects now: instead of later, anew, or again after `close()` and after it gave up. */
  reconnect(): void;
  /** Ends the connection. Requests that wait are rejected, loops over subscriptions end. */
  close(): void;
}

/** How long a token may take. */
const TOKEN_MS_MAX = 30_000;

/** A token is renewed after so long, 11.6 days, if not before: timers end at 24.8. */
const RENEW_MS_MAX = 1e9;

/**
 * Connects to a gateway's events endpoint, `wss://host/api/v1/ws`, and keeps the connection. Returns at once; the
 * address is relative to the page where there is one.
 *
 * @throws FanfareError `NO_WEBSOCKET` where the runtime has none and none is given.
 */
export function connect(url: string | URL, options: Options = {}): Client {
  const { transports = ["ws"], retryMin = 500, retryMax = 20_000 } = options;
  const address = new URL(url, globalThis.location?.href);
  address.protocol = address.protocol.replace("http", "ws");
  const WebSocket = transports.includes("ws") ? constructorOf(options.WebSocket) : undefined;

  const { on, heard, emit } = createEmitter<ClientEvents>(report);
  let status: Status = { state: "connecting" };
  let session: Session | undefined;

  /** Counts connections: what belongs to an earlier one is of no interest. */
  let generation = 0;
  let link: Link | undefined;
  let isSse: boolean | undefined;
  let isGreeted: boolean | undefined;
  /** The next attempt, and the renewal of the token. */
  let retry: Timer;
  let renewal: Timer;
  /** Attempts since the last confirmation, those of them that got none or no stream, and broken frames in all. */
  let attempts = 0;
  let failures = 0;
  let broken = 0;
  /** For how long the gateway wanted to be left alone before it closed, in milliseconds, and whether it is by now. */
  let hint = 0;
  let isHinted: boolean | undefined;

  let source: Token = options.token;
  let token: string | null | undefined;
  /** Counts those who are logged in: a token that was asked for one of them is not for the next. */
  let logins = 0;
  /** Why another token is needed. */
  let need: TokenReason | undefined = "first";

  const requests = createRequests(
    failure,
    (text) => link?.send(text),
    // What is asked for before the first confirmation would come before it.
    (kind) => isGreeted && (isOpen() || kind === "link"),
  );

  const topics = createTopics(report, failure, (...request) => requests.add("link", ...request), isOpen, opened);

  const watch = createWatch(
    options,
    () => isGreeted,
    () => link!.send('{"type":"ping"}'),
    () => link && lost(1006, "No answer"),
    () => (status.state !== "waiting" ? watch.askNow() : isHinted || reconnect()),
  );

  function isOpen(): boolean {
    return status.state === "open";
  }

  /** The connection is good: something was confirmed. */
  function opened(): void {
    if (!isGreeted || isOpen()) return;
    attempts = failures = 0;
    set({ state: "open" });
    requests.flush();
  }

  function failure(): FanfareError | undefined {
    if (/ended|closed/.test(status.state)) return status.error;
  }

  function report(error: unknown): void {
    if (heard("error")) emit("error", error, console.error);
    else console.error(error);
  }

  function set(to: Status): void {
    status = to;
    emit("state", to);
  }

  async function open(): Promise<void> {
    const own = ++generation;
    const isCurrent = () => own === generation;
    set({ state: "connecting" });
    try {
      if (isCurrent() && need) await takeToken(need);
      if (!isCurrent()) return;
      const listener = {
        heard: () => isCurrent() && watch.hear(),
        frame: (frame: unknown) => isCurrent() && take(frame),
        end: (code: number, reason: string, hint?: number) => isCurrent() && lost(code, reason, hint),
      };
      const wantsSse = transports[(failures >> 1) % transports.length] === "sse";
      const sse = wantsSse && (await import("./sse.js").catch((cause) => listener.end(1006, String(cause))));
      if (!isCurrent()) return;
      watch.hear();
      isSse = !!sse;
      const openAt = (url: URL, listener: Listener) => openWebSocket(WebSocket!, url.href, token, listener);
      if (sse) link = sse.openSse(address, token, options, listener, WebSocket && openAt);
      else {
        const target = new URL(address);
        const place = topics.placesOf([INBOX]).get(INBOX);
        if (place) target.searchParams.set("inbox_after", place);
        link = openAt(target, listener);
      }
    } catch (cause) {
      if (!isCurrent()) return;
      const why = String(cause ?? "No token");
      const error = new FanfareError(need ? "TOKEN" : "CONNECTION_LOST", why, "token", {}, cause);
      if (cause === null) return finish("ended", error);
      // What there is may be no token at all.
      need ??= "refused";
      wait(error);
    }
  }

  /** Asks for a token, for the next connection or for this one. */
  async function takeToken(reason: TokenReason): Promise<void> {
    const own = logins;
    const taken = typeof source === "function" ? await within(source({ reason })) : source;
    if (own !== logins) return;
    if (taken === null && /expired|refused/.test(reason)) throw null;
    token = taken;
    need = undefined;
  }

  /** Renews the token before it ends. Without a new one the connection ends, and is made anew. */
  function renewBefore({ expires_at, timestamp }: Frame): void {
    clearTimeout(renewal);
    const left = Date.parse(expires_at) - Date.parse(timestamp);
    const delay = Math.max(left / 2, left - 60_000);
    const login = logins;
    const renew = async () => {
      // Also when the connection is another one by then, or none: the token is for the next one.
      const own = generation;
      try {
        await takeToken("expired");
        if (token && own === generation) renewBefore(await requests.ask("link", { type: "authenticate", token }));
      } catch {
        if (login === logins) need ??= "expired";
      }
    };
    if (typeof source === "function" && delay > 0) renewal = setTimeout(renew, Math.min(delay, RENEW_MS_MAX));
  }

  function lost(code: number, reason: string, wanted = 0): void {
    const remedy = closeRemedy(code, reason);
    const message = reason || `Connection lost (${code})`;
    const name = remedy === "token" ? "AUTHENTICATION_FAILED" : "CONNECTION_LOST";
    const error = new FanfareError(name, message, remedy, { code, reason });
    const delay = Math.max(wanted, hint, /^Too many messages/.test(reason) ? 60_000 : 0);
    // Over SSE the greeting says less: streams may fail all the same.
    if (!isGreeted || (isSse && !isOpen())) failures += 1;
    if (code === 1009) requests.failLargest();
    if (remedy === "token") need = code === 4002 ? "expired" : "refused";
    if (remedy === "fix" || (remedy === "token" && typeof source !== "function")) finish("ended", error);
    else wait(error, delay);
  }

  function wait(error: FanfareError, hint?: number): void {
    if (!drop()) return;
    isHinted = !!hint;
    const delay = backoff(attempts++, retryMin, retryMax, hint);
    retry = setTimeout(open, delay);
    set({ state: "waiting", error, delay });
  }

  /** Leaves the connection, whatever it is at. False if a listener that was told has begun another one, or closed. */
  function drop(): boolean {
    const own = ++generation;
    clearTimeout(retry);
    hint = 0;
    isGreeted = false;
    link?.close();
    link = undefined;
    requests.lost();
    topics.lost();
    return own === generation;
  }

  /** Ends for good, or until `reconnect()`. */
  function finish(state: "ended" | "closed", error: FanfareError): void {
    if (!drop()) return;
    clearTimeout(renewal);
    watch.listen(false);
    // Before the listeners: what they ask for anew is not of this end.
    requests.fail(error);
    set({ state, error });
  }

  function reconnect(): void {
    attempts = failures = 0;
    if (!drop()) return;
    watch.listen(true);
    void open();
  }

  function take(frame: unknown): void {
    const own = generation;
    try {
      handle(typeof frame === "string" ? JSON.parse(frame) : frame);
    } catch (cause) {
      if (own !== generation) return;
      const error = new FanfareError("BROKEN_FRAME", String(cause), "fix", {}, cause);
      // What was in it comes again. A gateway that does it again and again is asked ever more slowly.
      attempts = Math.max(attempts, broken++);
      wait(error);
      // Last: the listener may close, or connect.
      report(error);
    }
  }

  function handle(frame: Frame): void {
    const { type, details } = frame;
    const own = generation;
    if (typeof type !== "string") throw type;
    // What comes right before a close.
    hint = (type === "error" && details?.retry_after * 1000) || 0;
    if (type === "batch") for (const message of frame["messages"]) own === generation && handle(message);
    // Answers are missing. Those that wait for one ask again.
    else if (type === "gap" && frame["event"] === null) lost(1006, "No answer");
    else if (type === "connection_established") {
      if (isGreeted) return;
      isGreeted = true;
      session = frame as Session;
      renewBefore(frame);
      topics.greeted(isSse, frame["user"]);
    } else if (!topics.take(frame) && !requests.answer(frame) && type !== "pong") emit("message", frame);
  }

  // The caller subscribes first.
  queueMicrotask(() => generation || reconnect());

  return {
    get state() {
      return status.state;
    },
    get status() {
      return status;
    },
    get session() {
      return session;
    },
    on,
    subscribe: topics.add,
    inbox(options) {
      const inbox = topics.add<any>(INBOX, options);
      if (options?.since && link) reconnect();
      return inbox;
    },
    async publish(topic, data, options) {
      const key = options?.key ?? randomKey();
      return (await requests.ask("keyed", { type: "publish", event: topic, data, key }, options))["result"]["offset"];
    },
    async query(query, params, options) {
      return (await requests.ask("again", { type: "query", params: { ...params, query } }, options))["result"];
    },
    request: (message, options) => requests.ask("once", message, options),
    authenticate(given = source) {
      source = given;
      logins += 1;
      clearTimeout(renewal);
      need = "requested";
      reconnect();
    },
    reconnect,
    close() {
      if (status.state !== "closed") finish("closed", new FanfareError("CLOSED", "Closed"));
    },
  };
}

type Timer = ReturnType<typeof setTimeout> | undefined;

/** A key of a publication: unique, and no secret. */
export const randomKey = () => `${Math.random()}-${Math.random()}`;

/** The value, or an exception after a time. */
function within<T>(value: T | PromiseLike<T>): Promise<T> {
  let timer: Timer;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(reject, TOKEN_MS_MAX, "No answer");
  });
  return Promise.race([value, late]).finally(() => clearTimeout(timer));
}
