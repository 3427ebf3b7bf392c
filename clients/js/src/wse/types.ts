// The words of WSE's client, so that applications written for it find them here.

/** How urgent a message is: what gives way first where a queue is full, and what goes first out of it. */
export const MessagePriority = { CRITICAL: 10, HIGH: 8, NORMAL: 5, LOW: 3, BACKGROUND: 1 } as const;
export type MessagePriority = (typeof MessagePriority)[keyof typeof MessagePriority];

export const ConnectionState = {
  /** Not started, or waiting for a token. */
  PENDING: "pending",
  CONNECTING: "connecting",
  /** The server has greeted. */
  CONNECTED: "connected",
  /** Lost; another attempt follows by itself. */
  RECONNECTING: "reconnecting",
  /** Closed by `disconnect()`, or by the server for good (1000). */
  DISCONNECTED: "disconnected",
  /** Given up: `lastError` says why. `reconnect()` or another token starts anew. */
  ERROR: "error",
  /** Only where a server says so. */
  DEGRADED: "degraded",
} as const;
export type ConnectionState = (typeof ConnectionState)[keyof typeof ConnectionState];

export const ConnectionQuality = {
  EXCELLENT: "excellent",
  GOOD: "good",
  FAIR: "fair",
  POOR: "poor",
  UNKNOWN: "unknown",
} as const;
export type ConnectionQuality = (typeof ConnectionQuality)[keyof typeof ConnectionQuality];

export const CircuitBreakerState = { CLOSED: "closed", OPEN: "open", HALF_OPEN: "half-open" } as const;
export type CircuitBreakerState = (typeof CircuitBreakerState)[keyof typeof CircuitBreakerState];

/** A message as it is on the wire: see docs/wse.md, "The envelope". */
export interface WSMessage {
  c?: "WSE" | "S" | "U";
  /** The type. */
  t: string;
  /** The payload; what is no object comes as `{ data: .. }`. */
  p: any;
  id?: string;
  seq?: number;
  ts?: string;
  v?: number;
  pri?: number;
  /** Correlates an answer with what it answers. */
  cid?: string;
  sig?: string;
  enc?: boolean;
  /** Topic, epoch and offset: the place of the message in its topic. */
  tp?: string;
  e?: string;
  o?: number;
  [key: string]: unknown;
}

export interface ReconnectionStrategy {
  /** How the delay grows by attempt. `adaptive` is exponential. */
  mode: "exponential" | "linear" | "fibonacci" | "adaptive";
  /** The first delay, in milliseconds. */
  baseDelay: number;
  /** The largest delay, in milliseconds. */
  maxDelay: number;
  /** Attempts that may fail one after the other before it gives up (`ERROR`); -1 is no limit. */
  maxAttempts: number;
  factor: number;
  /** Whether a delay is random between its half and its whole, so that clients do not come back at once. */
  jitter: boolean;
}

export interface SecurityConfig {
  /** Asks the server for end-to-end encryption (ECDH P-256, AES-256-GCM). */
  encryptionEnabled: boolean;
  /** Asks for it, too, and gives up where there is none or it ends, instead of going on in clear text with an error. */
  encryptionRequired: boolean;
  /** Signs what is sent with `signingKey`, and gives up where there is none. */
  messageSignature: boolean;
  /** The key of HMAC-SHA256 signatures, as the server's `wse.signing_key`; those of the server are checked with it. */
  signingKey?: string | Uint8Array;
  /** Types of messages of the server that are dropped without a good signature. */
  signedTypes: readonly string[];
}

export interface PerformanceConfig {
  /** Messages that may wait to be sent. */
  maxQueueSize: number;
  /** Bytes of JSON that may wait to be sent. */
  memoryLimit: number;
  /** Taken for compatibility, and not used: a flush sends all that waits, by the rate limit. */
  batchSize: number;
  /** Taken for compatibility, and not used. */
  batchTimeout: number;
  /** Taken for compatibility, and not used: what is sent is not compressed. */
  compressionThreshold: number;
}

export interface OfflineConfig {
  /** Whether messages wait while there is no connection; without it they are refused once there was one. */
  enabled: boolean;
  /** Messages that may wait while there is no connection. */
  maxSize: number;
  /** How long a message may wait, in milliseconds. */
  maxAge: number;
  /** Whether they outlive the page, in IndexedDB. */
  persistToStorage: boolean;
}

export interface DiagnosticsConfig {
  /** Taken for compatibility: quality is always measured, at no cost beyond a ping every 15 s. */
  enabled: boolean;
  sampleRate: number;
  metricsInterval: number;
  healthCheckInterval: number;
}

export interface WSEConfig {
  /** WebSocket addresses, `wss://host/wse`; by default that of the page with the path `/wse`. */
  endpoints: string[];
  reconnection: Partial<ReconnectionStrategy>;
  security: Partial<SecurityConfig>;
  performance: Partial<PerformanceConfig>;
  offline: Partial<OfflineConfig>;
  diagnostics: Partial<DiagnosticsConfig>;
}

export type LoadBalancingStrategy = "weighted-random" | "least-connections" | "round-robin";

export interface MessageOptions {
  priority?: MessagePriority;
  /** Must not go in clear text: waits for the key exchange, and is refused where encryption is not asked for or not to be had. */
  encrypted?: boolean;
  /** `false`: refused instead of kept where there is no connection. */
  offline?: boolean;
  correlation_id?: string;
  /** How long it may wait to be sent, in milliseconds; `offline.maxAge` otherwise. */
  ttl?: number;
}

export interface QueuedMessage {
  id: string;
  type: string;
  payload: any;
  priority: number;
  /** When it was given to the queue, in milliseconds of Unix time. */
  timestamp: number;
  /** When it is no longer worth sending, in milliseconds of Unix time. */
  expires: number;
  encrypted?: boolean;
  correlation_id?: string;
}

export interface ConnectionMetrics {
  messagesReceived: number;
  messagesSent: number;
  /** Messages that wait to be sent. */
  messagesQueued: number;
  /** Messages to be sent that were refused or gave way. */
  messagesDropped: number;
  /** Bytes after decompression by bytes before, of the last compressed message. */
  compressionRatio: number;
  compressionHits: number;
  /** Times that a lost connection came back. */
  reconnectCount: number;
  connectionAttempts: number;
  successfulConnections: number;
  failedConnections: number;
  lastLatency: number | null;
  avgLatency: number | null;
  /** `avgLatency`, 0 while there is none. */
  averageLatency: number;
  minLatency: number | null;
  maxLatency: number | null;
  latencyP95: number | null;
  latencyP99: number | null;
  bytesReceived: number;
  bytesSent: number;
  /** Bytes a second, received, of the last second or more that was measured. */
  bandwidth: number;
  /** Messages a second, received. */
  messageRate: number;
  connectedSince: number | null;
  lastMessageReceived: number | null;
  lastMessageSent: number | null;
  lastHealthCheck: number | null;
  lastErrorCode: number | null;
  lastErrorMessage: string | null;
  authFailures: number;
  /** Frames that could not be read, or whose signature was not good. */
  protocolErrors: number;
  networkJitter: number;
  packetLoss: number;
}

export interface NetworkDiagnostics {
  quality: ConnectionQuality;
  /** 100 is steady, 0 is not. */
  stability: number;
  /** The mean change of the round trip from one ping to the next, in milliseconds. */
  jitter: number;
  /** Pings without an answer, in percent. */
  packetLoss: number;
  /** The mean, in milliseconds. */
  roundTripTime: number;
  suggestions: string[];
  lastAnalysis: number | null;
}

export interface CircuitBreakerInfo {
  state: CircuitBreakerState;
  failures: number;
  lastFailureTime: number | null;
  successCount: number;
  nextRetryTime: number | null;
  threshold: number;
  timeout: number;
}

export interface EndpointStats {
  url: string;
  /** 0 to 100. */
  healthScore: number;
  connectionCount: number;
  averageLatency: number | null;
  isActive: boolean;
  isPreferred: boolean;
  lastFailure: number | null;
  lastSuccess: number | null;
}

/** The place of the newest message of a topic. */
export interface TopicRecoveryPosition {
  epoch: string;
  offset: number;
}

export interface SubscriptionInfo {
  topics: string[];
  pendingSubscriptions: string[];
  failedSubscriptions: string[];
  lastUpdate: number | null;
  recoveryState: Record<string, TopicRecoveryPosition>;
  serverRecoveryEnabled: boolean;
}

export interface SecurityInfo {
  encryptionEnabled: boolean;
  encryptionAlgorithm: string | null;
  messageSigningEnabled: boolean;
  lastKeyRotation: number | null;
}

export interface QueueStats {
  size: number;
  capacity: number;
  utilizationPercent: number;
  backpressure: boolean;
  oldestMessageAge: number | null;
}

/** Messages that are missing: told once, never silence. */
export interface Gap {
  /** `null`: messages to this connection alone. */
  topic: string | null;
  /** How many; `null` where it cannot be known. */
  lost: number | null;
  cause?: string;
}

export interface WSEState {
  connectionState: ConnectionState;
  activeEndpoint: string | null;
  preferredEndpoint: string | null;
  endpoints: EndpointStats[];
  metrics: ConnectionMetrics;
  diagnostics: NetworkDiagnostics | null;
  circuitBreaker: CircuitBreakerInfo;
  security: SecurityInfo;
  subscriptions: SubscriptionInfo;
  activeTopics: string[];
  /** The newest message that is not the protocol's own. Of many at once only the last is seen: use events for all. */
  lastMessage: WSMessage | null;
  lastError: string | null;
  errorHistory: { timestamp: number; error: string; code?: number | undefined }[];
  isConnected(): boolean;
  canReconnect(): boolean;
  getConnectionQuality(): ConnectionQuality;
  clearErrors(): void;
  resetCircuitBreaker(): void;
}

export interface MessageQueueState {
  messages: QueuedMessage[];
  size: number;
  capacity: number;
  processing: boolean;
  stats: QueueStats;
  hasBackpressure(): boolean;
  clearQueue(): void;
}
