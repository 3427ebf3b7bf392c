import { backoff } from "./backoff.js";
import { closeDelay, closeRemedy, errorRemedy, isSentAgain } from "./codes.js";
import { Emitter } from "./emitter.js";
import { FanfareError } from "./errors.js";
import { type Frame, type Link } from "./link.js";
import { type Options, type Token, type TokenReason, defaults } from "./options.js";
import { isInbox, isPattern } from "./pattern.js";
import { earlier, parse } from "./place.js";
import { type PresenceChange, Subscription, type SubscriptionOptions, type TopicEvent } from "./subscription.js";
import { type WebSocketConstructor, constructorOf, openWebSocket } from "./websocket.js";

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

/** Who the gateway takes this client for. */
export interface Session {
  readonly clientId: string;
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

/** Requests that wait for an answer, or for a connection. */
const REQUESTS_MAX = 1000;

/** For how long the gateway knows a publication's key, less a margin. */
const KEY_MS = 280_000;

/** How long a token may take. */
const TOKEN_MS_MAX = 30_000;

/** How often the clock is looked at, at least, and how late that is where the machine was asleep. */
const TICK_MS_MAX = 5000;
const ASLEEP_MS = 15_000;

/** Longest delay of a timer, 24.8 days. */
const TIMER_MS_MAX = 2 ** 31 - 1;

interface Request {
  /** Its text, at the moment it is sent. */
  make(): string;
  done(answer: Frame): void;
  fail(error: FanfareError): void;
  /** `link`: forgotten with its connection; `again`: sent on the next one; `once`: fails if it was sent. */
  kind: "link" | "again" | "once";
  /** Its characters, once it was sent on this connection. */
  sent: number;
  /** When it was sent for the first time. */
  first: number;
  /** Whether it may be sent again only for as long as its key holds. */
  isKeyed?: boolean;
}

/** A connection to a gateway that comes back. Made by {@link connect}. */
export class Client extends Emitter<ClientEvents> {
  readonly #url: URL;
  readonly #options: typeof defaults & Options;
  readonly #WebSocket: WebSocketConstructor | undefined;
  #status: Status = { state: "connecting" };
  #session: Session | undefined;

  /** Counts connections: what belongs to an earlier one is of no interest. */
  #generation = 0;
  #link: Link | undefined;
  #isSse = false;
  #isGreeted = false;
  #retry: Timer;
  /** Attempts since the last confirmation, and those of them that got no connection. */
  #attempts = 0;
  #failures = 0;
  /** Broken frames since the client was made. */
  #broken = 0;
  /** What the gateway asked for before it closed, in milliseconds. */
  #hint = 0;

  #token: Token;
  #cached: string | undefined;
  #reason: TokenReason | undefined = "first";
  #renewal: Timer;
  #expires = Infinity;

  readonly #subscriptions = new Map<string, Set<Subscription<any>>>();
  readonly #inboxes = new Set<Subscription<any>>();
  /** Names that this connection was asked for, and those that it has confirmed. */
  readonly #asked = new Set<string>();
  readonly #confirmed = new Set<string>();
  #isSyncing = false;
  /** Places in one message: the gateway's `events.max_subscriptions`. */
  #recover_max = 50;

  readonly #requests = new Map<number, Request>();
  #lastId = 0;
  /** Ends the wait for a rate. */
  #pause: Timer;

  #watch: ReturnType<typeof setInterval> | undefined;
  #heard = 0;
  #pinged = 0;
  #ticked = 0;
  readonly #wake = () => {
    if (this.#status.state === "waiting") this.reconnect();
    else this.#ping();
  };

  /** @internal */
  constructor(url: string | URL, options: Options = {}) {
    super((error) => this.#report(error));
    this.#url = new URL(url, globalThis.location?.href);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    const given = Object.entries(options).filter(([, value]) => value !== undefined);
    this.#options = { ...defaults, ...Object.fromEntries(given) };
    this.#token = options.token;
    if (this.#options.transports.includes("ws")) this.#WebSocket = constructorOf(options.WebSocket);
    // The caller subscribes first.
    queueMicrotask(() => this.#generation || this.#status.state === "closed" || this.reconnect());
  }

  get state(): State {
    return this.#status.state;
  }

  /** The state and why it is so. The same object until it changes. */
  get status(): Status {
    return this.#status;
  }

  /** Who the gateway takes this client for; undefined before the first connection. */
  get session(): Session | undefined {
    return this.#session;
  }

  /**
   * Subscribes to a topic, or to a pattern such as `agent.*`. Any number of subscriptions to one name cost the gateway
   * one.
   */
  subscribe<T = unknown>(name: string, options: SubscriptionOptions = {}): Subscription<T> {
    const subscription = new Subscription<T>(this.#hub, name, options);
    let all = this.#subscriptions.get(name);
    if (!all) this.#subscriptions.set(name, (all = new Set()));
    all.add(subscription);
    // A topic that flows already goes on elsewhere only if it begins anew.
    if ((options.since || options.last) && this.#asked.has(name)) this.#forget(name);
    this.#sync();
    return subscription;
  }

  /**
   * What is for this client's user alone. It takes a token, and no permission. Give `since` before the client has
   * connected, or it connects anew.
   */
  inbox<T = unknown>(options: SubscriptionOptions = {}): Subscription<T> {
    const subscription = new Subscription<T>(this.#hub, "inbox", options, true);
    this.#inboxes.add(subscription);
    if (options.since && this.#link) this.reconnect();
    else this.#sync();
    return subscription;
  }

  /**
   * Publishes and gives the offset in the topic. It waits for a connection, and is sent again with its key until the
   * gateway acknowledges it, so that it is published once. Rejects with the gateway's refusal; with `OUTCOME_UNKNOWN`
   * if it was not acknowledged for as long as keys are known; with `QUEUE_FULL` when 1,000 requests wait.
   */
  async publish(topic: string, data: unknown, options: PublishOptions = {}): Promise<number> {
    const { key = randomKey(), signal } = options;
    const message = { type: "publish", event: topic, data, key };
    const answer = await this.#ask(message, "again", signal, true);
    return answer["result"]["offset"];
  }

  /**
   * Asks the gateway: `presence`, `history`, `server_info` and others of docs/protocol.md. Asked again on the next
   * connection until it is answered.
   */
  async query<T = any>(query: string, params: object = {}, options: RequestOptions = {}): Promise<T> {
    const answer = await this.#ask({ type: "query", params: { ...params, query } }, "again", options.signal);
    return answer["result"];
  }

  /**
   * Sends any message of the events protocol, such as `{ type: "app", data }`, and gives the answer. If the connection
   * is lost before it comes, it rejects with `OUTCOME_UNKNOWN`: only you know whether to ask again.
   */
  request(message: Frame, options: RequestOptions = {}): Promise<Frame> {
    return this.#ask(message, "once", options.signal);
  }

  /**
   * Has the client go on with another token: after a login, a logout or a change of permissions. With an argument that
   * takes the place of the option `token`. Where the gateway does not take it on the connection, as for another user,
   * the client connects anew.
   */
  async authenticate(token: Token = this.#token): Promise<void> {
    this.#token = token;
    const generation = this.#generation;
    this.#reason = "requested";
    if (this.state === "open" && this.#session?.user != null) {
      try {
        await this.#renew("requested");
        return;
      } catch {
        // The new connection says it.
      }
      if (generation !== this.#generation) return;
    }
    this.reconnect();
  }

  /** Connects now: instead of later, anew, or again after `close()` and after it gave up. */
  reconnect(): void {
    this.#attempts = this.#failures = 0;
    this.#drop();
    this.#listen(true);
    void this.#connect();
  }

  /** Ends the connection. Requests that wait are rejected, loops over subscriptions end. */
  close(): void {
    this.#finish("closed", new FanfareError("CLOSED", "The client was closed"));
  }

  // The connection.

  async #connect(): Promise<void> {
    const own = ++this.#generation;
    const { transports, fetch: given, credentials = "same-origin", streamsMax } = this.#options;
    this.#set({ state: "connecting" });
    if (own !== this.#generation) return;
    try {
      if (this.#reason || Date.now() >= this.#expires) await this.#takeToken(this.#reason ?? "expired");
      if (own !== this.#generation) return;
      const url = new URL(this.#url);
      const transport = transports[(this.#failures >> 1) % transports.length];
      const listener = {
        heard: () => this.#hear(own),
        frame: (frame: unknown) => own === this.#generation && this.#frame(frame),
        end: (code: number, reason: string, hint = 0) => own === this.#generation && this.#lost(code, reason, hint),
      };
      this.#hear(own);
      this.#isSse = transport === "sse";
      if (this.#isSse) {
        const options = { url, token: this.#cached, credentials, streams_max: streamsMax };
        const { openSse } = await import("./sse.js");
        if (own !== this.#generation) return;
        this.#link = openSse({ ...options, fetch: given ?? ((...all) => fetch(...all)) }, listener);
      } else {
        for (const { places } of this.#inboxes) {
          const place = places.get("inbox");
          if (place) url.searchParams.set("inbox_after", place);
        }
        this.#link = openWebSocket(this.#WebSocket!, url.href, this.#cached, listener);
      }
    } catch (error) {
      if (own !== this.#generation) return;
      if (error === NO_TOKEN) return this.#finish("ended", tokenError("There is no token to be had"));
      // It may be no token at all.
      this.#reason ??= "refused";
      this.#wait(tokenError("A token cannot be had or used", error));
    }
  }

  /** Asks for a token for the next connection, or for this one. */
  async #takeToken(reason: TokenReason): Promise<string | undefined> {
    const source = this.#token;
    const token = typeof source === "function" ? await within(source({ reason }), TOKEN_MS_MAX) : source;
    if (token === null && (reason === "expired" || reason === "refused")) throw NO_TOKEN;
    if (source !== this.#token) throw new Error("another token was given meanwhile");
    this.#cached = token || undefined;
    this.#reason = undefined;
    this.#expires = Infinity;
    return this.#cached;
  }

  /** Goes on with a new token on this connection. */
  async #renew(reason: TokenReason): Promise<void> {
    const own = this.#generation;
    const token = await this.#takeToken(reason);
    if (own !== this.#generation) return;
    if (!token) throw NO_TOKEN;
    const answer = await this.#ask({ type: "authenticate", token }, "once");
    if (own === this.#generation) this.#renewBefore(answer);
  }

  /** Renews the token before it ends. Without a new one the connection ends, and is made anew. */
  #renewBefore({ expires_at, timestamp }: Frame): void {
    clearTimeout(this.#renewal);
    const left = Date.parse(expires_at) - Date.parse(timestamp);
    if (!(left > 0)) return;
    this.#expires = Date.now() + left;
    if (typeof this.#token !== "function") return;
    const delay = Math.max(left / 2, left - 60_000);
    if (delay < TIMER_MS_MAX) {
      this.#renewal = setTimeout(() => {
        this.#renew("expired").catch(() => (this.#reason ??= "expired"));
      }, delay);
    }
  }

  #lost(code: number, reason: string, hint = 0): void {
    const remedy = closeRemedy(code, reason);
    const why = reason || (code === 1006 ? "The connection was lost" : `The connection was closed with ${code}`);
    const name = remedy === "token" ? "AUTHENTICATION_FAILED" : "CONNECTION_LOST";
    const error = new FanfareError(name, why, remedy, { code, reason });
    if (!this.#isGreeted) this.#failures += 1;
    const delay = Math.max(hint, this.#hint, closeDelay(reason));
    if (code === 1009) this.#giveUpLargest();
    this.#drop();
    if (remedy === "token") {
      this.#reason = code === 1008 || code === 4401 ? "refused" : "expired";
      if (typeof this.#token !== "function") return this.#finish("ended", error);
    } else if (remedy === "fix") return this.#finish("ended", error);
    this.#wait(error, delay);
  }

  #wait(error: FanfareError, hint = 0): void {
    this.#drop();
    const { retryMin, retryMax } = this.#options;
    const delay = backoff(this.#attempts++, retryMin, retryMax, hint);
    this.#retry = setTimeout(() => void this.#connect(), delay);
    this.#set({ state: "waiting", error, delay });
  }

  /** Leaves the connection, whatever it is at. */
  #drop(): void {
    this.#generation += 1;
    for (const timer of [this.#retry, this.#renewal, this.#pause]) clearTimeout(timer);
    this.#pause = undefined;
    this.#hint = this.#pinged = 0;
    this.#isGreeted = false;
    this.#asked.clear();
    this.#confirmed.clear();
    const link = this.#link;
    this.#link = undefined;
    link?.close();
    for (const [id, request] of this.#requests) {
      if (request.kind === "link") this.#requests.delete(id);
      else if (request.sent && request.kind === "once") this.#fail(id, unknown("The connection was lost"));
      request.sent = 0;
    }
    for (const subscription of this.#all()) {
      if (subscription.state !== "ended") subscription.change("pending");
    }
  }

  /** Ends for good, or until `reconnect()`. */
  #finish(state: "ended" | "closed", error: FanfareError): void {
    if (this.state === state) return;
    this.#drop();
    this.#listen(false);
    for (const id of this.#requests.keys()) this.#fail(id, error);
    this.#set({ state, error });
    for (const subscription of this.#all()) subscription.wake();
  }

  #set(status: Status): void {
    this.#status = status;
    this.emit("state", status);
  }

  // Whether the other end is there.

  #listen(isWanted: boolean): void {
    clearInterval(this.#watch);
    const change = isWanted ? "addEventListener" : "removeEventListener";
    globalThis[change]?.("online", this.#wake);
    globalThis[change]?.("offline", this.#wake);
    globalThis.document?.[change]("visibilitychange", this.#wake);
    if (!isWanted) return;
    this.#ticked = Date.now();
    this.#watch = setInterval(() => this.#tick(), Math.min(this.#options.pingTimeout / 2, TICK_MS_MAX));
  }

  #tick(): void {
    const now = Date.now();
    // Timers of a machine that was asleep, or of a page that was frozen, are late.
    const wasAsleep = now - this.#ticked > ASLEEP_MS;
    this.#ticked = now;
    if (!this.#link) return;
    const { pingInterval, pingTimeout } = this.#options;
    const since = this.#pinged || (this.#isGreeted ? Infinity : this.#heard);
    if (wasAsleep) this.#ping();
    else if (now - since >= pingTimeout) this.#lost(1006, "The gateway does not answer");
    else if (!this.#pinged && now - this.#heard >= pingInterval) this.#ping();
  }

  /** Asks whether the other end is there. What it says next, be it what it may, is the answer. */
  #ping(): void {
    if (!this.#link || !this.#isGreeted) return;
    this.#pinged = Date.now();
    this.#link.send('{"type":"ping"}');
  }

  #hear(generation: number): void {
    if (generation !== this.#generation) return;
    this.#heard = Date.now();
    this.#pinged = 0;
  }

  // What comes.

  #frame(frame: unknown): void {
    const own = this.#generation;
    try {
      if (typeof frame !== "object" || frame === null) throw new TypeError("not an object");
      this.#handle(frame as Frame);
    } catch (cause) {
      if (own !== this.#generation) return;
      const error = new FanfareError("BROKEN_FRAME", "The gateway sent a frame that is none", "fix", {}, { cause });
      this.#report(error);
      // What was in it comes again. A gateway that does it again and again is asked ever more slowly.
      this.#attempts = Math.max(this.#attempts, this.#broken++);
      this.#wait(error);
    }
  }

  #handle(frame: Frame): void {
    const { type, event, id } = frame;
    if (type === "batch") {
      const own = this.#generation;
      for (const message of frame["messages"]) if (own === this.#generation) this.#handle(message);
      return;
    }
    const topic: string = frame["topic"] ?? event;
    const takers = typeof topic === "string" ? this.#covering(topic) : [];
    if (type === "event" && takers.length && typeof frame["event_id"] === "string") {
      return this.#event(topic, frame, takers);
    }
    if (type === "gap") {
      // Answers are missing: those that wait for one ask again.
      if (event === null) return this.#lost(1006, "Answers are missing");
      for (const subscription of takers) subscription.gap(topic, frame["lost"] ?? null);
      return;
    }
    if (type === "presence" && takers.length) {
      const change: PresenceChange = { ...frame["data"], topic, seq: frame["presence_seq"] };
      for (const subscription of takers) subscription.emit("presence", change);
      return;
    }
    if (type === "place") {
      for (const subscription of takers) subscription.place(topic, frame["place"]);
      return;
    }
    if (type === "connection_established") this.#greeted(frame);
    else if (!this.#answered(id, frame) && type !== "pong") this.emit("message", frame);
  }

  #event(topic: string, frame: Frame, takers: Subscription[]): void {
    const { event_id: place, data, event: name, publisher, timestamp } = frame;
    if (!parse(place) && !place.startsWith("sse:")) throw new TypeError("no event_id");
    const event: TopicEvent = { type: "event", topic, name, data, position: place, publisher, timestamp };
    for (const subscription of takers) if (subscription.state === "active") subscription.take(topic, place, event);
  }

  #greeted(frame: Frame): void {
    if (this.#isGreeted) return;
    this.#isGreeted = true;
    const { client_id: clientId, user = null, name = null, role = null } = frame;
    this.#session = { clientId, user, name, role };
    this.#renewBefore(frame);
    this.#subscribe();
  }

  /** An answer to a request, if it is one. */
  #answered(id: unknown, frame: Frame): boolean {
    const { type, code, message, details = {} } = frame;
    const request = this.#requests.get(id as number);
    if (type === "error" && details.retry_after > 0) this.#hint = details.retry_after * 1000;
    if (type === "error" && isSentAgain(code)) {
      if (request) request.sent = 0;
      this.#hint = 0;
      const delay = Math.min((details.retry_after || 1) * 1000, 60_000) + Math.random() * 1000;
      this.#pause ??= setTimeout(() => {
        this.#pause = undefined;
        this.#flush();
      }, delay);
      return !!request;
    }
    if (!request) return false;
    this.#requests.delete(id as number);
    if (type === "error") request.fail(new FanfareError(String(code), String(message), errorRemedy(code), details));
    else request.done(frame);
    return true;
  }

  // Subscriptions.

  /** What subscriptions need of it. */
  readonly #hub = {
    report: (error: unknown) => this.#report(error),
    remove: (subscription: Subscription<any>) => this.#remove(subscription),
    failure: () => (/ended|closed/.test(this.state) ? this.#status.error : undefined),
    isClosed: () => this.state === "closed",
  };

  *#all(): Iterable<Subscription<any>> {
    for (const all of this.#subscriptions.values()) yield* [...all];
    yield* [...this.#inboxes];
  }

  #covering(topic: string): Subscription<any>[] {
    const found = [...this.#all()].filter((one) => !one.isOwn && one.covers(topic));
    return found.length || !isInbox(topic) ? found : [...this.#inboxes];
  }

  #remove(subscription: Subscription<any>): void {
    if (subscription.isOwn) return void this.#inboxes.delete(subscription);
    const { name } = subscription;
    const all = this.#subscriptions.get(name);
    if (!all?.delete(subscription) || all.size) return;
    this.#subscriptions.delete(name);
    if (this.#asked.has(name)) this.#forget(name);
  }

  /** Ends a name on this connection. */
  #forget(name: string): void {
    this.#asked.delete(name);
    this.#confirmed.delete(name);
    this.#tell(() => ({ type: "unsubscribe", events: [name] }));
  }

  /** Has the connection subscribe to what is new. All that is called for in one turn goes in one message. */
  #sync(): void {
    if (this.#isSyncing) return;
    this.#isSyncing = true;
    queueMicrotask(() => {
      this.#isSyncing = false;
      if (this.state === "open") this.#subscribe();
    });
  }

  #subscribe(): void {
    for (const inbox of this.#inboxes) if (inbox.state === "pending" && this.#session?.user != null) inbox.beginOwn();
    for (const name of this.#confirmed) {
      const all = [...(this.#subscriptions.get(name) ?? [])];
      const active = all.find(({ state }) => state === "active");
      if (active) for (const one of all) if (one.state === "pending") one.join(active);
    }
    const names = [...this.#subscriptions.keys()].filter((name) => !this.#asked.has(name));
    if (this.state === "open" && !names.length) return;
    for (const name of names) this.#asked.add(name);
    let count = 0;
    const make = () => {
      if (!names.length) return { type: "ping" };
      const recover = this.#recover(names);
      count = Object.keys(recover).length;
      return { type: "subscribe", events: names, recover };
    };
    const done = (frame: Frame) => {
      this.#opened();
      if (names.length) this.#confirm(names, frame);
      this.#sync();
    };
    const fail = (error: FanfareError) => {
      const limit = Number(error.details["limit"]);
      if (error.code === "SUBSCRIPTION_LIMIT" && limit < count) {
        this.#recover_max = limit;
        return this.#tell(make, done, fail);
      }
      for (const name of names) this.#reject(name, error);
      this.#opened();
    };
    this.#tell(make, done, fail);
  }

  /** The first confirmation: the connection is good. */
  #opened(): void {
    if (this.state === "open") return;
    this.#attempts = this.#failures = 0;
    this.#set({ state: "open" });
    this.#flush();
  }

  #confirm(names: string[], { events, topics = {} }: Frame): void {
    const accepted = new Set<string>(events);
    const places = Object.entries<any>(topics);
    for (const name of names) {
      // It may have been given up meanwhile.
      if (!this.#asked.has(name)) continue;
      if (accepted.has(name)) this.#confirmed.add(name);
      else {
        const message = `The gateway does not let this client subscribe to ${name}, or to that many topics`;
        this.#reject(name, new FanfareError("REJECTED", message, "token"));
      }
    }
    for (const one of this.#all()) if (!one.isOwn && this.#confirmed.has(one.name)) one.begin(places);
  }

  #reject(name: string, error: FanfareError): void {
    for (const one of this.#subscriptions.get(name) ?? []) one.change("rejected", error);
  }

  /** The places to go on from, by topic, as many as the gateway takes. */
  #recover(names: string[]): Frame {
    const places = new Map<string, string>();
    const begun: [string, Frame][] = [];
    const rest: [string, string][] = [];
    for (const name of names) {
      for (const one of this.#subscriptions.get(name) ?? []) {
        const place = one.places.get(name);
        if (!place && one.last && !isPattern(name)) begun.push([name, { last: one.last }]);
        if (place) {
          const known = places.get(name) ?? place;
          const from = earlier(known, place);
          if (!from) one.gap(name, null);
          places.set(name, from ?? known);
        }
        if (isPattern(name)) rest.unshift(...[...one.places].filter(([topic]) => topic !== name).reverse());
      }
    }
    for (const [topic, place] of rest) {
      if (this.#subscriptions.has(topic)) continue;
      places.set(topic, earlier(places.get(topic) ?? place, place) ?? place);
    }
    const known = [...places].flatMap(([topic, place]): [string, Frame][] => {
      const [epoch, offset] = parse(place) ?? [];
      if (offset) return [[topic, { epoch, offset }]];
      // A stream's place says nothing on a WebSocket: a gap is told.
      return this.#isSse ? [[topic, { cursor: place.slice(4) }]] : [];
    });
    return Object.fromEntries([...begun, ...known].slice(0, this.#recover_max));
  }

  // Requests.

  #ask(message: Frame, kind: Request["kind"], signal?: AbortSignal, isKeyed = false): Promise<Frame> {
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const failure = this.#hub.failure();
      if (failure) throw failure;
      if (this.#requests.size >= REQUESTS_MAX) {
        throw new FanfareError("QUEUE_FULL", `${REQUESTS_MAX} requests wait for an answer`, "retry");
      }
      const abort = () => {
        this.#requests.delete(id);
        reject(signal!.reason);
      };
      const ended = () => signal?.removeEventListener("abort", abort);
      // As it is now, and not when it is sent.
      const text = JSON.stringify({ ...message, id: this.#lastId + 1 });
      const id = this.#add(
        () => text,
        kind,
        (answer) => (ended(), resolve(answer)),
        (error) => (ended(), reject(error)),
        isKeyed,
      );
      signal?.addEventListener("abort", abort, { once: true });
    });
  }

  /** A request of the connection itself. */
  #tell(make: () => Frame, done: Request["done"] = () => {}, fail: Request["fail"] = () => {}): void {
    const id = this.#lastId + 1;
    this.#add(() => JSON.stringify({ ...make(), id }), "link", done, fail);
  }

  #add(
    make: () => string,
    kind: Request["kind"],
    done: Request["done"],
    fail: Request["fail"],
    isKeyed = false,
  ): number {
    const id = ++this.#lastId;
    this.#requests.set(id, { make, kind, done, fail, isKeyed, sent: 0, first: 0 });
    this.#flush();
    return id;
  }

  #flush(): void {
    if (!this.#isGreeted || this.#pause) return;
    for (const [id, request] of this.#requests) {
      // What is asked for before the confirmation would come before it.
      if (request.sent || (this.state !== "open" && request.kind !== "link")) continue;
      const now = Date.now();
      request.first ||= now;
      if (request.isKeyed && now - request.first > KEY_MS) {
        this.#fail(id, unknown("The publication was not acknowledged in time"));
        continue;
      }
      const text = request.make();
      request.sent = text.length;
      this.#link!.send(text);
    }
  }

  #fail(id: number, error: FanfareError): void {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    request?.fail(error);
  }

  /** After a close for a message that was too large: it is not sent again. */
  #giveUpLargest(): void {
    const sent = [...this.#requests].filter(([, { sent }]) => sent).sort(([, a], [, b]) => b.sent - a.sent);
    if (sent[0]) this.#fail(sent[0][0], new FanfareError("MESSAGE_TOO_LARGE", "The message is larger than the gateway takes"));
  }

  #report(error: unknown): void {
    if (this.heard("error")) this.emit("error", error, console.error);
    else console.error(error);
  }
}

type Timer = ReturnType<typeof setTimeout> | undefined;

/** What there is instead of a token that is not to be had. */
const NO_TOKEN = new Error("no token");

const tokenError = (message: string, cause?: unknown) =>
  new FanfareError("TOKEN", cause instanceof Error ? `${message}: ${cause.message}` : message, "token", {}, { cause });

const unknown = (why: string) =>
  new FanfareError("OUTCOME_UNKNOWN", `${why}: whether the gateway did it is not known`, "retry");

function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(36)).join("");
}

/** The value, or an exception after a time. */
function within<T>(value: T | PromiseLike<T>, ms: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer for ${ms / 1000} s`)), ms);
    Promise.resolve(value).then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/**
 * Connects to a gateway's events endpoint, `wss://host/api/v1/ws`, and keeps the connection. Returns at once; the
 * address is relative to the page where there is one.
 *
 * @throws FanfareError `NO_WEBSOCKET` where the runtime has none and none is given.
 */
export function connect(url: string | URL, options: Options = {}): Client {
  return new Client(url, options);
}
