import type { CircuitBreakerInfo, ConnectionMetrics, WSEState } from "./types.js";
import { CircuitBreakerState, ConnectionQuality, ConnectionState } from "./types.js";

const all = <T>(names: string, value: T): Record<string, T> => Object.fromEntries(names.split(" ").map((name) => [name, value]));

const ZEROS =
  "messagesReceived messagesSent messagesQueued messagesDropped compressionHits reconnectCount connectionAttempts " +
  "successfulConnections failedConnections averageLatency bytesReceived bytesSent bandwidth messageRate authFailures " +
  "protocolErrors networkJitter packetLoss";
const NULLS =
  "lastLatency avgLatency minLatency maxLatency latencyP95 latencyP99 connectedSince lastMessageReceived lastMessageSent " +
  "lastHealthCheck lastErrorCode lastErrorMessage";

export const emptyMetrics = (): ConnectionMetrics =>
  ({ ...all(ZEROS, 0), ...all(NULLS, null), compressionRatio: 1 }) as unknown as ConnectionMetrics;

const closedBreaker: CircuitBreakerInfo = {
  state: CircuitBreakerState.CLOSED,
  failures: 0,
  lastFailureTime: null,
  successCount: 0,
  nextRetryTime: null,
  threshold: 5,
  timeout: 30_000,
};

/** What is shown before anything has happened, on servers, too. */
export const initialState = (): WSEState => ({
  connectionState: ConnectionState.PENDING,
  activeEndpoint: null,
  preferredEndpoint: null,
  endpoints: [],
  metrics: emptyMetrics(),
  diagnostics: null,
  circuitBreaker: closedBreaker,
  security: { encryptionEnabled: false, encryptionAlgorithm: null, messageSigningEnabled: false, lastKeyRotation: null },
  subscriptions: {
    topics: [],
    pendingSubscriptions: [],
    failedSubscriptions: [],
    lastUpdate: null,
    recoveryState: {},
    serverRecoveryEnabled: false,
  },
  activeTopics: [],
  lastMessage: null,
  lastError: null,
  errorHistory: [],
  isConnected: () => false,
  canReconnect: () => true,
  getConnectionQuality: () => ConnectionQuality.UNKNOWN,
  clearErrors: () => {},
  resetCircuitBreaker: () => {},
});
