import { RECONNECTION, reconnectDelay } from "./backoff.js";
import { type Bytes, utf8Length, uuid } from "./bytes.js";
import { CircuitBreaker, type CircuitBreakerConfig } from "./circuit-breaker.js";
import { type Decoded, decodeText } from "./codec.js";
import * as constants from "./constants.js";
import { ConnectionPool } from "./endpoint-pool.js";
import { logger } from "./logger.js";
import { createSecureChannel, decodeBinary } from "./on-demand.js";
import type { SecureChannel } from "./secure-channel.js";
import { ConnectionState, type LoadBalancingStrategy, type ReconnectionStrategy, type SecurityConfig, type WSMessage } from "./types.js";

/** What of `WebSocket` is used. */
export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocket;

/** Where a token stands. `cookie`: it is not sent, since the browser's cookie says it. */
export type TokenPlace = "protocol" | "query" | "cookie";

export interface ConnectionManagerConfig {
  endpoints: readonly string[];
  token?: string | undefined;
  /** By default `protocol` for what looks like a JWT, else `cookie`. WSE's own server takes cookies alone. */
  tokenIn?: TokenPlace;
  reconnection?: Partial<ReconnectionStrategy>;
  loadBalancing?: LoadBalancingStrategy;
  circuitBreaker?: Partial<CircuitBreakerConfig>;
  security?: Partial<SecurityConfig>;
  /** Asks for MessagePack. */
  format?: "json" | "msgpack";
  /** Asks for compression; true by default. */
  compression?: boolean;
  heartbeatInterval?: number;
  idleTimeout?: number;
  connectionTimeout?: number;
  /** Instead of the global one. */
  WebSocket?: WebSocketConstructor;
  /** Asked for when a token is refused: gives the new one, or sets a cookie and gives nothing. `null`: there is none to be had. */
  refreshAuthToken?: () => Promise<string | null | void>;
}

/** What the server says of a connection. */
export interface ServerDetails {
  connection_id?: string;
  user_id?: string;
  features: Record<string, boolean>;
}

/** What a connection tells of itself. None of these may throw. */
export interface ConnectionEvents {
  onState(state: ConnectionState): void;
  /** Greeted, and with a key where one was asked for: messages may be sent. */
  onReady(details: ServerDetails): void;
  /** Each message in order, the protocol's own, too. */
  onMessage(message: WSMessage): void;
  /** Round trip of a ping, or that there was no answer. */
  onLatency(milliseconds: number | null): void;
  onTraffic(direction: "in" | "out", bytes: number): void;
  onInflated(before: number, after: number): void;
  onError(problem: { code: string; message: string; close?: number | undefined }): void;
  onEncryption(enabled: boolean): void;
}

/** What this client can, besides what is configured. */
const FEATURES = "batching priority_queue circuit_breaker offline_queue rate_limiting health_check metrics".split(" ");
/** The close code that ends it for good. */
const NORMAL_CLOSURE = 1000;
/** Reasons of 1008 that pass with time. */
const PASSES = /^(Too many (connections|messages)|Message not finished)/;

/**
 * A connection that comes back: endpoints with fail-over, back-off, circuit breaker, heartbeat, greeting, encryption.
 * It sends and receives envelopes, and knows nothing of topics.
 */
export class ConnectionManager {
  readonly pool: ConnectionPool;
  readonly breaker: CircuitBreaker;
  readonly #strategy: ReconnectionStrategy;
  /** Whether encryption is asked for. */
  readonly encrypts: boolean;
  /** Whether messages are encrypted or signed, or may be. */
  readonly #secures: boolean;
  readonly #heartbeat: number;
  readonly #idle: number;
  readonly #timeout: number;
  #state: ConnectionState = ConnectionState.PENDING;
  #token: string | undefined;
  #socket: WebSocket | undefined;
  #endpoint: string | null = null;
  #opened = false;
  #ready = false;
  #details: ServerDetails = { features: {} };
  #channel: SecureChannel | undefined;
  /** Until there is a channel. */
  #securing: Promise<void> | undefined;
  /** Attempts that failed since one was good. */
  #failures = 0;
  #wasGood = false;
  /** Seconds that the server asks to wait. */
  #retryAfter = 0;
  #openedAt = 0;
  #heardAt = 0;
  #ping: { timestamp: number; at: number } | undefined;
  #retryTimer: Timer;
  #stepTimer: Timer;
  #beatTimer: Timer;
  #probeTimer: Timer;
  /** Binary frames, and what came behind them, until each is decoded. */
  #inbound: (string | Bytes)[] = [];
  #inboundBytes = 0;
  #pumping = false;
  #outbound: Promise<void> = Promise.resolve();
  /** The request for another token that is under way; another login or a logout makes its result void. */
  #refreshing: object | undefined;
  readonly #wake = () => this.#onWake();

  constructor(
    private readonly config: ConnectionManagerConfig,
    private readonly events: ConnectionEvents,
  ) {
    this.#strategy = { ...RECONNECTION, ...config.reconnection };
    const { encryptionEnabled, encryptionRequired, messageSignature, signingKey } = config.security ?? {};
    this.encrypts = Boolean(encryptionEnabled || encryptionRequired);
    this.#secures = Boolean(this.encrypts || messageSignature || signingKey);
    this.#heartbeat = config.heartbeatInterval ?? constants.HEARTBEAT_INTERVAL;
    this.#idle = config.idleTimeout ?? constants.IDLE_TIMEOUT;
    this.#timeout = config.connectionTimeout ?? constants.CONNECTION_TIMEOUT;
    this.#token = config.token;
    this.pool = new ConnectionPool({ endpoints: config.endpoints, loadBalancingStrategy: config.loadBalancing ?? "weighted-random" });
    this.breaker = new CircuitBreaker({ failureThreshold: 5, resetTimeout: this.#strategy.maxDelay, successThreshold: 1, ...config.circuitBreaker });
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get endpoint(): string | null {
    return this.#endpoint;
  }

  get details(): ServerDetails {
    return this.#details;
  }

  isConnected(): boolean {
    return this.#socket?.readyState === 1;
  }

  /** Whether messages may be sent: greeted, and with a key where one was asked for. */
  isReady(): boolean {
    return this.#ready && this.isConnected();
  }

  isEncrypted(): boolean {
    return this.#ready && this.#channel?.encrypted === true;
  }

  /** Starts, in any state: at once, whatever was waited for. */
  connect(): void {
    if (this.#socket) return;
    this.#listen(true);
    this.#attempt(ConnectionState.CONNECTING);
  }

  /** Starts anew, in any state, also after it gave up. */
  reconnect(): void {
    this.#drop();
    this.#failures = 0;
    this.#retryAfter = 0;
    this.breaker.reset();
    this.connect();
  }

  /** Closes for good, until {@link connect}. */
  disconnect(): void {
    this.#refreshing = undefined;
    this.#listen(false);
    this.#drop();
    this.#setState(ConnectionState.DISCONNECTED);
  }

  /** Uses another token: at once where a connection is up or was refused. */
  setToken(token: string | undefined): void {
    if (token === this.#token) return;
    this.#token = token;
    this.#refreshing = undefined;
    if (this.#state !== ConnectionState.PENDING && this.#state !== ConnectionState.DISCONNECTED) this.reconnect();
  }

  changeEndpoint(url: string): void {
    this.pool.addEndpoint(url);
    this.pool.setPreferredEndpoint(url);
    this.reconnect();
  }

  /** Sends a message; false where it cannot be now. `clear`: never encrypted, as pings, which servers read in clear alone. */
  send(message: WSMessage, clear = false): boolean {
    const socket = this.#socket;
    // Before it is settled whether messages are encrypted, none goes.
    if (!socket || !(clear ? this.isConnected() : this.isReady()) || socket.bufferedAmount > constants.SOCKET_BUFFER_MAX) return false;
    const json = JSON.stringify(message);
    const channel = this.#channel;
    if (!channel) this.#write(socket, json);
    else {
      // One behind the other, since they must not overtake.
      this.#outbound = this.#outbound
        .then(async () => this.#write(socket, await channel.seal(json, clear, message.enc)))
        .catch((error: unknown) => this.#fail("ENCRYPTION_FAILED", error));
    }
    return true;
  }

  /** Asks for another key. The answer brings it. Without encryption it does nothing. */
  async rotateKey(): Promise<void> {
    const public_key = await this.#channel?.rotate();
    if (public_key !== undefined) this.#say("key_rotation_request", { public_key });
  }

  /** A message of the protocol's own. */
  #say(t: string, p: object, clear = false, more: object = { v: constants.WS_PROTOCOL_VERSION }): void {
    this.send({ c: "WSE", t, p, ...more }, clear);
  }

  #write(socket: WebSocket, data: string | Bytes): void {
    if (socket !== this.#socket || socket.readyState !== 1) return;
    socket.send(data);
    this.events.onTraffic("out", typeof data === "string" ? utf8Length(data) : data.length);
  }

  // Connecting

  #attempt(state: ConnectionState): void {
    clearTimeout(this.#retryTimer);
    this.#setState(state);
    if (!this.breaker.canExecute()) {
      const wait = (this.breaker.getInfo().nextRetryTime ?? 0) - Date.now();
      return void (this.#retryTimer = setTimeout(() => this.#attempt(state), Math.max(wait, 0) + 1));
    }
    const url = this.pool.getBestEndpoint(this.#failures > 0 ? this.#endpoint : null);
    const Socket = this.config.WebSocket ?? globalThis.WebSocket;
    if (url === undefined) return this.#giveUp("NO_ENDPOINT", "there is no endpoint: give `endpoints`");
    if (!Socket) return this.#giveUp("NO_WEBSOCKET", "no WebSocket: give `WebSocket`");
    this.#endpoint = url;
    this.#wasGood = this.#ready = false;
    this.#details = { features: {} };
    let socket: WebSocket;
    try {
      const place = this.config.tokenIn ?? (looksLikeJwt(this.#token) ? "protocol" : "cookie");
      const protocols = place === "protocol" && this.#token ? ["bearer", this.#token] : undefined;
      socket = new Socket(this.#address(url, place), protocols);
    } catch (error) {
      // An address that is none does not become one. What the browser says may have the token in it: then the error's name has to do.
      const why = this.#token ? `${(error as Error | null)?.name}: bad address or token (\`tokenIn\`)` : String(error);
      return this.#giveUp("BAD_ENDPOINT", `${url}: ${why}`);
    }
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#openedAt = this.#heardAt = Date.now();
    this.#stepTimer = setTimeout(() => this.#lost(1006, "no connection in time"), this.#timeout);
    const current = <E>(work: (event: E) => void) => (event: E): void => void (socket === this.#socket && work(event));
    socket.onopen = current(() => this.#onOpen());
    socket.onmessage = current<MessageEvent>(({ data }) => this.#onFrame(data));
    socket.onclose = current<CloseEvent>(({ code, reason }) => this.#lost(code, reason));
    // The close event behind it says the same.
    socket.onerror = () => {};
  }

  #address(endpoint: string, place: TokenPlace): string {
    const url = new URL(endpoint);
    const { compression = true, format } = this.config;
    const query = {
      client_version: constants.WS_CLIENT_VERSION,
      protocol_version: constants.WS_PROTOCOL_VERSION,
      compression,
      encryption: this.encrypts,
      ...(format === "msgpack" && { format }),
      ...(place === "query" && this.#token && { access_token: this.#token }),
    };
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
    return url.toString();
  }

  #onOpen(): void {
    clearTimeout(this.#stepTimer);
    this.#opened = true;
    this.pool.addConnection(this.#endpoint as string);
    this.pool.recordSuccess(this.#endpoint as string, Date.now() - this.#openedAt);
    if (this.#secures) this.#securing = this.#secure();
    this.#beatTimer = setInterval(() => this.#beat(), this.#heartbeat);
    // A server without tokens does not greet: its application does, if it likes.
    this.#stepTimer = setTimeout(() => void this.#hello({}), this.#timeout);
  }

  /** Loads what encrypts and signs. Nothing is read before it is there. */
  async #secure(): Promise<void> {
    const socket = this.#socket;
    try {
      const channel = await createSecureChannel(this.config.security ?? {}, {
        onSettled: (encrypted) => this.#channel === channel && this.#settled(encrypted),
        onGiveUp: (code, message) => this.#channel === channel && this.#giveUp(code, message),
        onError: (code, error) => this.#fail(code, error),
      });
      if (socket === this.#socket) this.#channel = channel;
    } catch (error) {
      // It may be had the next time.
      if (socket === this.#socket) this.#lost(1006, String(error));
    }
  }

  /** Greeted: says what this client can, and waits for a key if one is asked for. */
  async #hello(payload: Record<string, any>): Promise<void> {
    clearTimeout(this.#stepTimer);
    const socket = this.#socket;
    const said = isObject(payload["details"]) ? payload["details"] : payload;
    const connection_id: unknown = said["connection_id"] ?? payload["connection_id"];
    this.#details = { features: isObject(said["features"]) ? said["features"] : {} };
    if (typeof connection_id === "string") this.#details.connection_id = connection_id;
    if (typeof said["user_id"] === "string") this.#details.user_id = said["user_id"];
    await this.#securing;
    const publicKey = await this.#channel?.begin();
    if (socket !== this.#socket) return;
    const features = {
      ...Object.fromEntries(FEATURES.map((name) => [name, true])),
      compression: this.config.compression ?? true,
      encryption: publicKey !== undefined,
      message_signing: this.config.security?.messageSignature ?? false,
    };
    const p = {
      client_version: constants.WS_CLIENT_VERSION,
      protocol_version: constants.WS_PROTOCOL_VERSION,
      features,
      connection_id,
      encryption_public_key: publicKey,
    };
    this.#say("client_hello", p, true, { id: uuid(), ts: new Date().toISOString(), v: constants.WS_PROTOCOL_VERSION, pri: 10 });
    this.#sendPing();
    if (!this.encrypts) return this.#becomeReady();
    if (publicKey === undefined) return this.#channel?.giveUp();
    this.#stepTimer = setTimeout(() => this.#channel?.giveUp(), this.#timeout);
  }

  /** It is known whether messages are encrypted. */
  #settled(encrypted: boolean): void {
    this.events.onEncryption(encrypted);
    this.#becomeReady();
  }

  #becomeReady(): void {
    clearTimeout(this.#stepTimer);
    if (this.#ready) return;
    this.#ready = true;
    this.#setState(ConnectionState.CONNECTED);
    this.events.onReady(this.#details);
  }

  // Receiving

  #onFrame(data: unknown): void {
    this.#heardAt = Date.now();
    clearTimeout(this.#probeTimer);
    const frame = typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer);
    this.events.onTraffic("in", typeof frame === "string" ? utf8Length(frame) : frame.length);
    if (frame.length > constants.FRAME_BYTES_MAX) return this.#fail("MESSAGE_TOO_LARGE", `${frame.length} bytes are passed over`);
    if (typeof frame === "string" && !this.#pumping && !this.#secures) {
      try {
        return this.#take(decodeText(frame));
      } catch (error) {
        return this.#fail("PROTOCOL_ERROR", error);
      }
    }
    this.#inbound.push(frame);
    this.#inboundBytes += frame.length;
    if (this.#inbound.length > constants.INBOUND_FRAMES_MAX || this.#inboundBytes > constants.INBOUND_BYTES_MAX) {
      return this.#lost(1006, "more comes than can be decoded");
    }
    if (!this.#pumping) void this.#pump();
  }

  /** Decodes frames one after the other, since it takes a while and they must not overtake. */
  async #pump(): Promise<void> {
    const inbound = this.#inbound;
    this.#pumping = true;
    await this.#securing;
    for (let frame; inbound === this.#inbound && (frame = inbound.shift()) !== undefined; ) {
      this.#inboundBytes -= frame.length;
      try {
        const channel = this.#channel;
        const open = channel && ((bytes: Bytes) => channel.open(bytes));
        const decoded = typeof frame === "string" ? decodeText(frame) : await decodeBinary(frame, open, this.events.onInflated);
        if (channel && "message" in decoded && !(await channel.accepts(decoded))) continue;
        if (inbound !== this.#inbound) return;
        this.#take(decoded);
      } catch (error) {
        if (inbound === this.#inbound) this.#fail("PROTOCOL_ERROR", error);
      }
    }
    if (inbound === this.#inbound) this.#pumping = false;
  }

  #take(decoded: Decoded): void {
    if ("ping" in decoded) return void this.#write(this.#socket as WebSocket, `PONG:${decoded.ping}`);
    if ("pong" in decoded) return this.#onPong(decoded.pong);
    const { message } = decoded;
    const { t, p } = message;
    if (t === "PING" || t === "ping") {
      const server_timestamp: unknown = p["server_time"] ?? p["timestamp"] ?? Date.now();
      const answer = { server_timestamp, client_timestamp: Date.now() };
      return this.#say("PONG", answer, true);
    }
    if (t === "PONG" || t === "pong") return this.#onPong(p["client_timestamp"]);
    if (t === "server_ready") {
      if (this.#details.connection_id === undefined) void this.#hello(p);
    } else if (t === "error") this.#onErrorMessage(p);
    else if (!this.#wasGood && this.#ready) this.#good();
    this.#channel?.onMessage(message);
    this.events.onMessage(message);
  }

  #onErrorMessage(p: Record<string, unknown>): void {
    const after = p["retry_after"];
    if (typeof after === "number" && after > 0) this.#retryAfter = Math.min(after, 3_600);
  }

  /** More than a greeting has come: the next loss is the first one. */
  #good(): void {
    this.#wasGood = true;
    this.#failures = 0;
    this.#retryAfter = 0;
    this.breaker.recordSuccess();
  }

  // Heartbeat

  #beat(): void {
    const now = Date.now();
    if (now - this.#heardAt > this.#idle) return this.#lost(1006, `nothing came for ${this.#idle} ms`);
    if (this.#ping) this.events.onLatency(null);
    this.#sendPing();
  }

  #sendPing(): void {
    const timestamp = Date.now();
    this.#ping = { timestamp, at: performance.now() };
    this.#say("ping", { timestamp }, true);
  }

  #onPong(timestamp: unknown): void {
    const ping = this.#ping;
    if (!ping || timestamp !== ping.timestamp) return;
    this.#ping = undefined;
    const latency = performance.now() - ping.at;
    this.pool.recordSuccess(this.#endpoint as string, latency);
    if (this.#ready && !this.#wasGood) this.#good();
    this.events.onLatency(latency);
  }

  /** The network is back, or the page is: a connection shows that it lives, and one that is waited for is tried. */
  #onWake(): void {
    if (typeof document !== "undefined" && document.visibilityState === "hidden") return;
    if (this.#state === ConnectionState.RECONNECTING && !this.#socket && !this.#refreshing) {
      this.breaker.reset();
      return this.#attempt(ConnectionState.RECONNECTING);
    }
    if (!this.isReady() || Date.now() - this.#heardAt < constants.PROBE_TIMEOUT) return;
    this.#sendPing();
    clearTimeout(this.#probeTimer);
    this.#probeTimer = setTimeout(() => this.#lost(1006, "no answer after a wake"), constants.PROBE_TIMEOUT);
  }

  #listen(on: boolean): void {
    if (typeof window === "undefined") return;
    const change = on ? "addEventListener" : "removeEventListener";
    window[change]("online", this.#wake);
    document[change]("visibilitychange", this.#wake);
  }

  // Losing

  /** Lets go of the socket, whatever state it is in, and of all that belongs to it. */
  #drop(): void {
    for (const timer of [this.#retryTimer, this.#stepTimer, this.#probeTimer]) clearTimeout(timer);
    clearInterval(this.#beatTimer);
    const socket = this.#socket;
    this.#socket = this.#channel = this.#securing = this.#ping = undefined;
    this.#ready = this.#pumping = false;
    this.#inbound = [];
    this.#inboundBytes = 0;
    this.#outbound = Promise.resolve();
    if (this.#opened) this.pool.removeConnection(this.#endpoint as string);
    this.#opened = false;
    if (!socket) return;
    // Its own listeners stay, and do nothing: a socket that is closed while it connects says so as an error.
    try {
      socket.close(NORMAL_CLOSURE);
    } catch {
      // It is let go of all the same.
    }
  }

  #lost(code: number, reason: string): void {
    const good = this.#wasGood;
    this.#drop();
    if (code === NORMAL_CLOSURE) {
      this.#listen(false);
      return this.#setState(ConnectionState.DISCONNECTED);
    }
    if (code === 4401) return this.#refused(code, reason);
    if (code === 4403 || (code === 1008 && !PASSES.test(reason))) return this.#giveUp("CLOSED", reason || `closed with ${code}`, code);
    if (!good) {
      this.pool.recordFailure(this.#endpoint as string);
      this.breaker.recordFailure();
      this.events.onError({ code: "CONNECTION_FAILED", message: reason || `closed with ${code}`, close: code });
    }
    this.#retry(code === 1008 || code === 1013 || code === 4429 ? this.#strategy.baseDelay * 2 : 0);
  }

  /** The token is not good: asks for another one, else it waits for {@link setToken}. */
  #refused(code: number, reason: string): void {
    const message = reason || "Authentication failed";
    this.events.onError({ code: "AUTH_FAILED", message, close: code });
    const refresh = this.config.refreshAuthToken;
    if (!refresh) return this.#setState(ConnectionState.ERROR);
    this.#setState(ConnectionState.RECONNECTING);
    if (this.#refreshing) return;
    const mine = (this.#refreshing = {});
    void (async () => refresh())()
      .catch((error: unknown) => logger.warn("a new token could not be had:", error))
      .then((token) => {
        if (mine !== this.#refreshing) return;
        this.#refreshing = undefined;
        if (typeof token === "string" && token !== "") this.#token = token;
        // After a `reconnect()` there is an attempt already.
        if (this.#state !== ConnectionState.RECONNECTING || this.#socket) return;
        clearTimeout(this.#retryTimer);
        if (token === null) this.#setState(ConnectionState.ERROR);
        else this.#retry(0);
      });
  }

  #retry(waitMin: number): void {
    const { maxAttempts } = this.#strategy;
    if (maxAttempts >= 0 && this.#failures >= maxAttempts) {
      return this.#giveUp("GAVE_UP", `${maxAttempts} attempts have failed: reconnect() tries again`);
    }
    this.#setState(ConnectionState.RECONNECTING);
    const delay = Math.max(reconnectDelay(this.#strategy, this.#failures), this.#retryAfter * 1_000, waitMin);
    this.#failures++;
    this.#retryTimer = setTimeout(() => this.#attempt(ConnectionState.RECONNECTING), delay);
  }

  #giveUp(code: string, message: string, close?: number): void {
    this.#drop();
    this.events.onError({ code, message, close });
    this.#setState(ConnectionState.ERROR);
  }

  #fail(code: string, error: unknown): void {
    const message = error instanceof Error ? error.message : String(error);
    this.events.onError({ code, message });
  }

  #setState(state: ConnectionState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.events.onState(state);
  }
}

type Timer = ReturnType<typeof setTimeout> | undefined;

const isObject = (value: unknown): value is Record<string, any> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Three parts of base64url. What else applications give as a token is only a sign that a cookie is there. */
export const looksLikeJwt = (token: string | undefined): boolean => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token ?? "");
