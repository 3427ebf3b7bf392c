import { AdaptiveQualityManager, type QueryClientLike } from "./adaptive-quality.js";
import { uuid } from "./bytes.js";
import { categoryOf, envelope } from "./codec.js";
import { ConnectionManager, type ConnectionManagerConfig, type ServerDetails } from "./connection-manager.js";
import * as constants from "./constants.js";
import { PageEvents, isOwn } from "./events.js";
import { logger } from "./logger.js";
import { NetworkMonitor } from "./network-monitor.js";
import { OfflineQueue } from "./offline-queue.js";
import { RateLimiter } from "./rate-limiter.js";
import { EventSequencer } from "./sequencer.js";
import { emptyMetrics, initialState } from "./state.js";
import { type Store, createStore } from "./store.js";
import { Subscriptions } from "./subscriptions.js";
import {
  ConnectionState,
  type MessageOptions,
  MessagePriority,
  type QueuedMessage,
  type SubscriptionInfo,
  type WSEConfig,
  type WSEState,
  type WSMessage,
} from "./types.js";

export type MessageHandler = (message: WSMessage) => void;

/** What handlers are registered with. */
export interface HandlerRegistry {
  registerHandler(type: string, handler: MessageHandler): void;
  unregisterHandler(type: string, handler?: MessageHandler): void;
  getRegisteredHandlers(): string[];
}

export interface WSEClientConfig
  extends Partial<WSEConfig>,
    Omit<ConnectionManagerConfig, "endpoints" | "security" | "reconnection" | "token"> {
  /** Milliseconds within which another message of the same type is dropped; 0, the default, drops none. */
  eventThrottleMs?: number;
  /** A React Query client whose defaults follow the quality of the connection. */
  queryClient?: QueryClientLike | null;
  /** Types that must have a handler before it connects. */
  criticalHandlers?: readonly string[];
  /** Whether the state of the topics is asked for (`sync_request`) after each connect; true by default. */
  snapshots?: boolean;
  /** Messages sent at once, and more each second. */
  rateLimit?: { capacity?: number; refillRate?: number };
  /** Where events are dispatched instead of the window. */
  eventTarget?: EventTarget;
}

const OFFLINE = { enabled: true, maxSize: 1_000, maxAge: 3_600_000, persistToStorage: true };
/** What changes with every message is shown at most so often, in milliseconds. */
const PUBLISH_INTERVAL = 16;
/** A full socket is tried again after so many milliseconds. */
const DRAIN_RETRY = 100;
/** Types whose last time is remembered for `eventThrottleMs`; beyond it all are forgotten. */
const THROTTLED_TYPES_MAX = 1_000;

/** WSE's client without React: a connection, subscriptions that recover, a queue, and a state to look at. Inert until {@link start}. */
export class WSEClient implements HandlerRegistry {
  readonly connection: ConnectionManager;
  readonly sequencer = new EventSequencer();
  readonly monitor = new NetworkMonitor();
  readonly limiter: RateLimiter;
  readonly queue: OfflineQueue;
  readonly page: PageEvents;
  readonly #subscriptions: Subscriptions;
  readonly #quality: AdaptiveQualityManager;
  readonly #handlers = new Map<string, Set<MessageHandler>>();
  readonly #offline: typeof OFFLINE;
  readonly #throttled = new Map<string, number>();
  #metrics = emptyMetrics();
  #lastMessage: WSMessage | null = null;
  #window = { at: 0, bytes: 0, messages: 0 };
  #started = false;
  #everReady = false;
  #claiming = false;
  #publishTimer: ReturnType<typeof setTimeout> | undefined;
  #drainTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    endpoints: readonly string[],
    private readonly config: WSEClientConfig = {},
    readonly store: Store<WSEState> = createStore(initialState()),
  ) {
    const { performance, offline, rateLimit } = config;
    this.#offline = { ...OFFLINE, ...offline };
    this.limiter = new RateLimiter(rateLimit?.capacity, rateLimit?.refillRate);
    this.page = new PageEvents(config.eventTarget);
    this.queue = new OfflineQueue({
      maxSize: performance?.maxQueueSize ?? 10_000,
      ...(performance?.memoryLimit && { memoryLimit: performance.memoryLimit }),
      persistToStorage: this.#offline.enabled && this.#offline.persistToStorage,
      onDrop: (message, reason) => this.#dropped(message, reason),
    });
    this.#subscriptions = new Subscriptions(this.sequencer, {
      send: (payload) => this.#control("subscription_update", payload),
      onChange: (info) => this.#onSubscriptions(info),
      onGap: (gap) => {
        this.#call({ c: "WSE", t: "gap", p: gap });
        this.page.emit("wseGap", gap);
      },
    });
    this.#quality = new AdaptiveQualityManager(config.queryClient, (quality, { name: strategy }, before) => {
      const { roundTripTime: latency, jitter, packetLoss } = this.monitor.analyze();
      this.page.emit("connectionQualityChanged", { quality, before, strategy, metrics: { latency, jitter, packetLoss } });
    });
    this.connection = new ConnectionManager(
      { ...config, endpoints },
      {
        onState: (state) => this.#onState(state),
        onReady: (details) => this.#onReady(details),
        onMessage: (message) => this.#onMessage(message),
        onLatency: (latency) => this.#onLatency(latency),
        onTraffic: (direction, bytes) => this.#onTraffic(direction, bytes),
        onInflated: (before, after) => this.#onInflated(before, after),
        onError: ({ code, message, close }) => this.#onProblem(code, message, close),
        onEncryption: (enabled) => this.#onEncryption(enabled),
      },
    );
    store.setState({
      isConnected: () => this.connection.isReady(),
      canReconnect: () => this.connection.breaker.getInfo().state !== "open",
      getConnectionQuality: () => this.monitor.analyze().quality,
      clearErrors: () => store.setState({ lastError: null, errorHistory: [] }),
      resetCircuitBreaker: () => this.connection.breaker.reset(),
    });
  }

  /** Connects, and stays connected. */
  start(): void {
    if (this.#started) return;
    const missing = (this.config.criticalHandlers ?? []).filter((type) => !this.#handlers.has(type));
    this.#started = true;
    void this.queue.initialize();
    if (missing.length > 0) return this.#setError(`waits for handlers: ${missing.join(", ")}`);
    this.connection.connect();
  }

  /**
   * Closes. Topics and what waits to be sent stay for another {@link start}; where the greeting says who it is, as the next one
   * may be another one, only what is stored.
   */
  stop(): void {
    this.#started = false;
    this.connection.disconnect();
    // What `refreshAuthToken` gave was for this login.
    this.connection.setToken(this.#token);
    this.queue.setOwner(subjectOf(this.#token));
    clearTimeout(this.#drainTimer);
    this.#subscriptions.recovery.stop();
    this.#quality.destroy();
    this.queue.destroy();
    this.#publish();
    this.store.setState({ connectionState: ConnectionState.PENDING });
  }

  /** Tries at once, in any state, also after it gave up. */
  reconnect(): void {
    this.#started = true;
    this.connection.reconnect();
  }

  /** Closes, until {@link reconnect}: also where components that are mounted now are about to start it. */
  disconnect(): void {
    this.#started = true;
    this.connection.disconnect();
  }

  changeEndpoint(endpoint: string): void {
    this.store.setState({ preferredEndpoint: endpoint });
    this.connection.changeEndpoint(endpoint);
  }

  /**
   * Uses another token; the one that it was given last changes nothing, also where `refreshAuthToken` has given a newer one.
   * Of another user nothing is kept: no positions, and nothing that waits is sent as this one. Who it is says the `sub` of a
   * JWT, else the server's greeting.
   */
  setToken(token: string | undefined): void {
    if (token === this.#token) return;
    this.#token = token;
    // What waits is stored as whose it was.
    this.connection.setToken(token);
    this.#setOwner(subjectOf(token));
  }

  #setOwner(owner: string | undefined, isGreeted = false): void {
    this.queue.setOwner(owner, isGreeted);
    if (owner === undefined || owner === this.#owner) return;
    if (this.#owner !== undefined) this.sequencer.reset();
    this.#owner = owner;
  }
  /** The token that it was given last. */
  #token: string | undefined;
  /** The last user that was known, whose positions these are. */
  #owner: string | undefined;

  // Subscriptions

  /** Wants topics, for `owner`, in addition to what it wants. Where something was missed since, it is asked for. */
  subscribe(topics: readonly string[], owner: unknown = this): void {
    this.#subscriptions.subscribe(topics, owner);
  }

  /** Wants topics no longer. They are unsubscribed when no owner wants them. */
  unsubscribe(topics: readonly string[], owner: unknown = this): void {
    this.#subscriptions.unsubscribe(topics, owner);
  }

  /** All topics that somebody wants. */
  get topics(): Set<string> {
    return this.#subscriptions.topics;
  }

  /** Asks for the state of topics. What an application answers comes as messages, and `snapshotComplete` behind it. */
  requestSnapshot(topics: readonly string[] = [...this.topics]): void {
    if (topics.length > 0) this.#control("sync_request", { topics, include_snapshots: true, include_history: false, last_sequence: 0 });
  }

  // Sending

  /**
   * Sends a message, or keeps it until it can be sent. False where it is refused: the queue is full, it may not wait, or it
   * must be encrypted and nothing is.
   */
  send(type: string, payload: unknown = {}, options: MessageOptions = {}): boolean {
    const { priority = MessagePriority.NORMAL, encrypted = false, correlation_id, ttl = this.#offline.maxAge } = options;
    const timestamp = Date.now();
    const message: QueuedMessage = { id: uuid(), type, payload, priority, timestamp, expires: timestamp + ttl, encrypted };
    if (correlation_id !== undefined) message.correlation_id = correlation_id;
    const ready = this.connection.isReady();
    if (encrypted && !(ready ? this.connection.isEncrypted() : this.connection.encrypts)) return this.#dropped(message, "encryption");
    if (ready && !this.#claiming && this.queue.size === 0 && this.limiter.canSend() && this.#write(message)) return true;
    const mayWait = options.offline ?? (this.#offline.enabled || !this.#everReady);
    if (!ready && !mayWait) return this.#dropped(message, "offline");
    const persist = !ready && this.#offline.enabled;
    const limit = ready ? Infinity : this.#offline.maxSize;
    if (!this.queue.enqueue(message, { persist, limit })) return this.#dropped(message, "full");
    if (ready) this.#drain();
    this.#touch();
    return true;
  }

  /** Asks for compressed messages to this client, or for none, from a Fanfare gateway. */
  setCompression(enabled: boolean): void {
    this.#control("config_update", { compression_enabled: enabled });
  }

  /** Asks for another key of the encryption. */
  rotateKey(): Promise<void> {
    return this.connection.rotateKey();
  }

  // Handlers

  registerHandler(type: string, handler: MessageHandler): void {
    const handlers = this.#handlers.get(type) ?? new Set();
    this.#handlers.set(type, handlers.add(handler));
    const complete = (this.config.criticalHandlers ?? []).every((critical) => this.#handlers.has(critical));
    if (this.#started && complete && this.connection.state === ConnectionState.PENDING) this.connection.connect();
  }

  unregisterHandler(type: string, handler?: MessageHandler): void {
    const handlers = this.#handlers.get(type);
    if (handler) handlers?.delete(handler);
    if (!handler || handlers?.size === 0) this.#handlers.delete(type);
  }

  getRegisteredHandlers(): string[] {
    return [...this.#handlers.keys()];
  }

  /** Calls back for each message of a type, `gap` included. The result ends it. */
  on(type: string, handler: MessageHandler): () => void {
    this.registerHandler(type, handler);
    return () => this.unregisterHandler(type, handler);
  }

  /** Everything that helps to find out what is wrong. Has no token and no payload in it. */
  async diagnostics(): Promise<object> {
    return (await import("./diagnostics.js")).diagnosticsOf(this);
  }

  // What the connection tells

  #onState(state: ConnectionState): void {
    const lost = this.store.getState().connectionState === ConnectionState.CONNECTED;
    if (lost) {
      this.#subscriptions.disconnected();
      this.#quality.reset();
      if (this.#offline.enabled) this.queue.persist();
    }
    if (state === ConnectionState.CONNECTING || (state === ConnectionState.RECONNECTING && lost)) this.monitor.reset();
    this.#metrics.connectedSince = state === ConnectionState.CONNECTED ? Date.now() : null;
    this.store.setState({ connectionState: state, activeEndpoint: this.connection.endpoint });
    this.#publish();
  }

  #onReady(details: ServerDetails): void {
    this.#metrics.successfulConnections++;
    if (this.#everReady) this.#metrics.reconnectCount++;
    this.#everReady = true;
    this.sequencer.resetSequence();
    const { user_id, connection_id } = details;
    // Who is nobody has the name of the connection.
    this.#setOwner(subjectOf(this.#token) ?? (user_id === `anonymous-${connection_id}` ? "" : user_id), true);
    this.#subscriptions.connected(details);
    if (this.config.snapshots !== false) this.requestSnapshot();
    void this.#flush();
  }

  #onMessage(message: WSMessage): void {
    this.#metrics.messagesReceived++;
    this.#metrics.lastMessageReceived = Date.now();
    this.#handle(message);
    this.#touch();
  }

  #handle(message: WSMessage, inBatch = false): void {
    const { t, p, tp, e, o, id } = message;
    if (tp !== undefined) {
      if (!this.#subscriptions.recovery.accept(tp, e as string, o as number)) return;
    } else if (id !== undefined && this.sequencer.isDuplicate(id)) return;
    switch (t) {
      case "batch":
        if (!inBatch && Array.isArray(p["messages"])) for (const inner of p["messages"]) this.#handleInner(inner);
        return;
      case "error":
        this.#setError(String(p["message"] ?? "Unknown error"));
        this.page.serverError(message);
        break;
      case "gap":
        this.#subscriptions.recovery.told({ topic: null, lost: null, ...p });
        return;
      case "subscription_update":
        this.#subscriptions.answered(p);
        break;
      case "health_check":
      case "metrics_request":
      case "sync_request":
        this.#control(t.replace(/(_request)?$/, "_response"), this.#report(), MessagePriority.CRITICAL);
        return;
      case "heartbeat":
        this.#metrics.lastHealthCheck = Date.now();
        return;
      case "key_rotation_response":
        if (p["success"] === true) this.store.setState(({ security }) => ({ security: { ...security, lastKeyRotation: Date.now() } }));
        break;
      case "priority_message":
        // What is in it counts as a message of its type.
        if (typeof p["type"] === "string") this.#call({ ...message, t: p["type"], p: p["content"] ?? p });
    }
    if (!isOwn(message)) {
      if (this.#isThrottled(t)) return;
      this.#lastMessage = message;
    }
    this.#call(message);
    this.page.message(message);
  }

  #handleInner(inner: unknown): void {
    try {
      this.#handle(envelope(inner), true);
    } catch (error) {
      this.#onProblem("PROTOCOL_ERROR", String(error));
    }
  }

  #call(message: WSMessage): void {
    for (const handler of [...(this.#handlers.get(message.t) ?? [])]) {
      try {
        handler(message);
      } catch (error) {
        logger.error(`a handler of \`${message.t}\` has thrown:`, error);
      }
    }
  }

  #onLatency(latency: number | null): void {
    if (latency === null) this.monitor.recordLoss();
    else this.monitor.recordLatency(latency);
    const diagnostics = this.monitor.analyze();
    const { current, average, min, max, p95, p99, jitter } = this.monitor.getLatencyStats();
    const { packetLoss } = diagnostics;
    Object.assign(this.#metrics, { lastLatency: current, avgLatency: current === null ? null : average, averageLatency: average });
    Object.assign(this.#metrics, { minLatency: min, maxLatency: max, latencyP95: p95, latencyP99: p99, networkJitter: jitter, packetLoss });
    this.store.setState({ diagnostics });
    this.#quality.updateQuality(diagnostics.quality);
    this.#touch();
  }

  #onTraffic(direction: "in" | "out", bytes: number): void {
    if (direction === "out") {
      this.#metrics.bytesSent += bytes;
      this.#metrics.messagesSent++;
      this.#metrics.lastMessageSent = Date.now();
    } else this.#metrics.bytesReceived += bytes;
    this.#touch();
  }

  #onInflated(before: number, after: number): void {
    this.#metrics.compressionHits++;
    this.#metrics.compressionRatio = after / before;
  }

  #onProblem(code: string, message: string, close?: number): void {
    if (/^(PROTOCOL|SIGNATURE|MESSAGE)_/.test(code)) this.#metrics.protocolErrors++;
    if (code === "CONNECTION_FAILED") this.#metrics.failedConnections++;
    if (code === "AUTH_FAILED") {
      this.#metrics.authFailures++;
      this.page.emit("wseAuthFailed", { code: close, reason: message, message });
    }
    this.#setError(message, close);
    this.page.emit("wseError", { code, message, close });
  }

  #onEncryption(enabled: boolean): void {
    this.store.setState(({ security }) => ({
      security: {
        ...security,
        encryptionEnabled: enabled,
        encryptionAlgorithm: enabled ? "AES-GCM-256" : null,
        messageSigningEnabled: this.config.security?.messageSignature === true,
      },
    }));
  }

  // Inside

  #onSubscriptions(subscriptions: SubscriptionInfo): void {
    const { topics } = subscriptions;
    this.store.setState(({ activeTopics: before }) => ({
      activeTopics: before.length === topics.length && before.every((topic, i) => topic === topics[i]) ? before : topics,
      subscriptions,
    }));
  }

  /** The protocol's own messages wait for nothing and do not count for the rate. */
  #control(type: string, payload: object, priority: number = MessagePriority.HIGH): boolean {
    return this.connection.isReady() && this.connection.send(this.#envelope(uuid(), type, payload, priority));
  }

  /** What a server may ask for, in the words of each of its requests. */
  #report(): object {
    return {
      client_version: constants.WS_CLIENT_VERSION,
      protocol_version: constants.WS_PROTOCOL_VERSION,
      stats: this.#metrics,
      connection_stats: this.#metrics,
      queue_stats: this.queue.getStats(),
      queue_size: this.queue.size,
      diagnostics: this.monitor.analyze(),
      sequence: this.sequencer.getCurrentSequence(),
      subscriptions: [...this.topics],
      last_update: Date.now(),
    };
  }

  #envelope(id: string, type: string, payload: unknown, pri: number): WSMessage {
    const ts = new Date().toISOString();
    const seq = this.sequencer.getNextSequence();
    return { c: categoryOf(type), t: type, p: payload, id, seq, ts, v: constants.WS_PROTOCOL_VERSION, pri };
  }

  #write({ id, type, payload, priority, correlation_id, encrypted }: QueuedMessage): boolean {
    if (encrypted && !this.connection.isEncrypted()) return false;
    const message = this.#envelope(id, type, payload, priority);
    if (correlation_id !== undefined) message.cid = correlation_id;
    if (encrypted) message.enc = true;
    return this.connection.send(message);
  }

  async #flush(): Promise<void> {
    this.#claiming = true;
    try {
      await this.queue.claim();
    } catch (error) {
      logger.warn("storage:", error);
    }
    this.#claiming = false;
    this.#drain();
  }

  #drain(): void {
    clearTimeout(this.#drainTimer);
    for (let message; !this.#claiming && this.connection.isReady() && (message = this.queue.peek()); this.queue.shift()) {
      if (message.encrypted && !this.connection.isEncrypted()) {
        this.#dropped(message, "encryption");
        continue;
      }
      const written = this.limiter.canSend() ? this.#write(message) : undefined;
      if (written) continue;
      const retryAfter = this.limiter.getRetryAfter();
      if (written === undefined) this.page.emit("clientRateLimitExceeded", { retryAfter, stats: this.limiter.getStats() });
      this.#drainTimer = setTimeout(() => this.#drain(), Math.max(retryAfter * 1_000, DRAIN_RETRY));
      break;
    }
    this.#touch();
  }

  #dropped(message: QueuedMessage, reason: string): false {
    if (reason !== "taken") {
      this.#metrics.messagesDropped++;
      this.page.emit("wseMessageDropped", { id: message.id, type: message.type, reason });
      this.#touch();
    }
    return false;
  }

  #isThrottled(type: string): boolean {
    const interval = this.config.eventThrottleMs ?? 0;
    if (interval <= 0) return false;
    const now = Date.now();
    if (now - (this.#throttled.get(type) ?? 0) < interval) return true;
    if (this.#throttled.size >= THROTTLED_TYPES_MAX) this.#throttled.clear();
    this.#throttled.set(type, now);
    return false;
  }

  #setError(error: string, code?: number): void {
    this.#metrics.lastErrorMessage = error;
    this.#metrics.lastErrorCode = code ?? null;
    const entry = { timestamp: Date.now(), error, code };
    this.store.setState(({ errorHistory }) => ({
      lastError: error,
      errorHistory: [...errorHistory.slice(1 - constants.ERROR_HISTORY_MAX), entry],
    }));
    this.#touch();
  }

  /** Shows metrics and the last message soon, once for all that changes until then. */
  #touch(): void {
    this.#publishTimer ??= setTimeout(() => this.#publish(), PUBLISH_INTERVAL);
  }

  #publish(): void {
    clearTimeout(this.#publishTimer);
    this.#publishTimer = undefined;
    const metrics = this.#metrics;
    const now = Date.now();
    const seconds = (now - this.#window.at) / 1_000;
    if (seconds >= 1) {
      metrics.bandwidth = (metrics.bytesReceived - this.#window.bytes) / seconds;
      metrics.messageRate = (metrics.messagesReceived - this.#window.messages) / seconds;
      this.#window = { at: now, bytes: metrics.bytesReceived, messages: metrics.messagesReceived };
    }
    metrics.messagesQueued = this.queue.size;
    metrics.connectionAttempts = metrics.successfulConnections + metrics.failedConnections;
    this.store.setState({
      metrics: { ...metrics },
      lastMessage: this.#lastMessage,
      circuitBreaker: this.connection.breaker.getInfo(),
      endpoints: this.connection.pool.getEndpointStats(),
    });
  }
}

/** The user of a JWT, unverified; empty where there is no token, `undefined` where it does not say. */
function subjectOf(token: string | undefined): string | undefined {
  if (!token) return "";
  try {
    const claims = JSON.parse(atob(token.split(".")[1]?.replace(/-/g, "+").replace(/_/g, "/") ?? "")) as { sub?: unknown };
    return typeof claims.sub === "string" ? claims.sub : undefined;
  } catch {
    return undefined;
  }
}
