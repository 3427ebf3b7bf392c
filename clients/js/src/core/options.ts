import type { WebSocketConstructor } from "./websocket.js";

/**
 * Why a token is asked for. `first`: there was none yet; `expired`: the last one has ended or is about to; `refused`: the
 * gateway does not take the last one; `requested`: `client.authenticate()` was called.
 */
export type TokenReason = "first" | "expired" | "refused" | "requested";

/**
 * A token, or what gives one. `undefined` is none, as where a cookie has it. `null` is none as well, and after `expired`
 * and `refused` it says that there is none to be had: the client gives up. What is thrown, and what takes longer than 30
 * seconds, is tried again later.
 */
export type Token =
  | string
  | null
  | undefined
  | ((request: { reason: TokenReason }) => string | null | undefined | PromiseLike<string | null | undefined>);

export type Transport = "ws" | "sse";

/** Times are in milliseconds. */
export interface Options {
  token?: Token;
  /**
   * What to connect with, in the order of preference: `["ws"]`, or `["ws", "sse"]` to fall back to Server-Sent Events
   * where two attempts in a row get no WebSocket. SSE has no patterns and no queries.
   */
  transports?: readonly Transport[] | undefined;
  /** For runtimes without a `WebSocket` of their own, as Node 20: that of the package `ws`. */
  WebSocket?: WebSocketConstructor | undefined;
  /** Instead of the runtime's, for SSE. */
  fetch?: typeof fetch | undefined;
  /** Cookies of SSE and its publications; `same-origin` unless it says `include`. */
  credentials?: RequestCredentials | undefined;
  /** Topics over SSE, 5: a browser opens six connections to a host over HTTP/1.1. More are rejected. */
  streamsMax?: number | undefined;
  /** Limit of the first delay before another attempt (500), which doubles with each up to `retryMax` (20,000). */
  retryMin?: number | undefined;
  retryMax?: number | undefined;
  /** For how long nothing may come before the gateway is asked whether it is there (20,000). */
  pingInterval?: number | undefined;
  /** For how long it may say nothing then, or while a connection is made (10,000). */
  pingTimeout?: number | undefined;
}
