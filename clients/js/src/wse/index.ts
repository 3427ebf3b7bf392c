/**
 * WSE's client for React, `useWSE`, and its parts: for applications that come from WSE, against a Fanfare gateway or a WSE
 * server. See the README of this folder.
 *
 * @module
 */
export { useWSE, useWSEStore, useMessageQueueStore, getEndpoints, type UseWSEConfig, type UseWSEReturn } from "./hook.js";
export { WSEClient, type HandlerRegistry, type MessageHandler, type WSEClientConfig } from "./client.js";
export { createStore, type Store } from "./store.js";
export * from "./types.js";

export {
  ConnectionManager,
  type ConnectionEvents,
  type ConnectionManagerConfig,
  type ServerDetails,
  type TokenPlace,
  type WebSocketConstructor,
} from "./connection-manager.js";
export { reconnectDelay } from "./backoff.js";
export { ConnectionPool, type ConnectionPoolConfig } from "./endpoint-pool.js";
export { CircuitBreaker, type CircuitBreakerConfig } from "./circuit-breaker.js";
export { RateLimiter } from "./rate-limiter.js";
export { NetworkMonitor } from "./network-monitor.js";
export { AdaptiveQualityManager, QUALITY_STRATEGIES, type QualityStrategy, type QueryClientLike } from "./adaptive-quality.js";
export { EventSequencer, type StampVerdict } from "./sequencer.js";
export { Recovery, type RecoveryEvents } from "./recovery.js";
export { OfflineQueue, type OfflineQueueConfig } from "./offline-queue.js";
export type { QueueStorage } from "./queue-storage.js";
export {
  canEncrypt,
  createEncryptionSession,
  createMessageSigner,
  createSecureChannel,
  decodeBinary,
  decodeMsgpack,
  decompress,
  openIndexedDb,
} from "./on-demand.js";
export type { EncryptionSession } from "./encryption.js";
export type { SecureChannel, SecureChannelEvents } from "./secure-channel.js";
export type { MessageSigner, SignatureVerdict } from "./signing.js";
export { decodeText, type Decoded } from "./codec.js";
export { logger, LogLevel } from "./logger.js";
export { WSE_VERSION, WS_CLIENT_VERSION, WS_PROTOCOL_VERSION } from "./constants.js";
