import { type Client, type FanfareError, type Frame, type Options, type State, connect } from "fanfare-client";
import { type Mode, endpointOf } from "./endpoint";

/** The three states that a front end shows. A connection that waits for its next attempt is CLOSED. */
export type ConnectionState = "CLOSED" | "CONNECTING" | "OPEN";

export interface ManagerStatus {
  readonly state: ConnectionState;
  readonly endpoint: string;
  /** Why it is not open. */
  readonly error?: FanfareError;
  /** When it tries again by itself, in milliseconds since 1970; undefined where it does not. */
  readonly retryAt?: number;
  /** Since when it is open, in milliseconds since 1970. */
  readonly openSince?: number;
  /** How often it was open again after a loss. */
  readonly reconnects: number;
  /** Messages that wait for a connection or an answer. */
  readonly queueLength: number;
  /** The newest round trip in milliseconds: of this connection, and of the last `latencyInterval` or the one before it. */
  readonly latency?: number;
  /** The newest round trips in milliseconds, of whatever connection, newest last, at most {@link LATENCIES_MAX}. */
  readonly latencies: readonly number[];
}

export interface ManagerOptions extends Options {
  /** As `NEXT_PUBLIC_WS_URL`: empty for the endpoint of the mode where the page comes from. */
  url?: string | undefined;
  /** Chooses the endpoint where `url` has no path. */
  mode?: Mode | undefined;
  /** How often the latency is measured, in milliseconds (5,000); 0 for never. */
  latencyInterval?: number | undefined;
}

/** Round trips that are kept. */
export const LATENCIES_MAX = 60;

/**
 * A connection to the gateway with what a status display needs. In a Next application:
 *
 * ```ts
 * const manager = new WebSocketManager({ url: process.env.NEXT_PUBLIC_WS_URL });
 * manager.onChange(() => show(manager.status));
 * manager.subscribe("agent.*").on("event", ({ data }) => ..);
 * const answer = await manager.send({ type: "agent_command", data: { command: "start", agent_id: "a1" } });
 * ```
 *
 * It connects at once, and comes back by itself.
 */
export class WebSocketManager {
  readonly client: Client;
  readonly #endpoint: string;
  #status: ManagerStatus;
  #queued = 0;
  #reconnects = 0;
  #wasOpen = false;
  #latency: number | undefined;
  #latencies: number[] = [];
  #isMeasuring = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #listeners = new Set<() => void>();

  constructor({ url, mode, latencyInterval = 5000, ...options }: ManagerOptions = {}) {
    this.#endpoint = endpointOf(url, mode, globalThis.location?.origin);
    this.client = connect(this.#endpoint, options);
    this.#status = this.#make();
    this.client.on("state", () => {
      if (this.client.state === "open") {
        if (this.#wasOpen) this.#reconnects += 1;
        this.#wasOpen = true;
        // Not at once: an application that starts is busy.
        if (latencyInterval) setTimeout(() => this.measure(), Math.min(500, latencyInterval));
      } else this.#latency = undefined;
      this.#changed();
    });
    if (latencyInterval) this.#timer = setInterval(() => this.#measureAgain(), latencyInterval);
  }

  /** The same object until it changes. */
  get status(): ManagerStatus {
    return this.#status;
  }

  get state(): ConnectionState {
    return this.#status.state;
  }

  /** Calls `listener` after each change of {@link status}. Gives what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  subscribe<T = unknown>(name: string) {
    return this.client.subscribe<T>(name);
  }

  /**
   * Sends a message and gives its answer. Without a connection it waits in the queue, which has at most 1,000; rejects
   * with the gateway's error, and where the connection is lost before the answer.
   */
  async send(message: Frame): Promise<Frame> {
    this.#queued += 1;
    this.#changed();
    try {
      return await this.client.request(message);
    } finally {
      this.#queued -= 1;
      this.#changed();
    }
  }

  /** Measures a round trip, where it is open and none is being measured. */
  async measure(): Promise<void> {
    if (this.#isMeasuring || this.client.state !== "open") return;
    this.#isMeasuring = true;
    const begun = performance.now();
    try {
      await this.client.request({ type: "ping" });
      this.#latency = performance.now() - begun;
      this.#latencies = [...this.#latencies, this.#latency].slice(-LATENCIES_MAX);
      this.#changed();
    } catch {
      // The state says that the connection is lost.
    } finally {
      this.#isMeasuring = false;
    }
  }

  /** Not in a page that is hidden. What is not measured, or not answered by now, is not known. */
  #measureAgain(): void {
    if (!this.#isMeasuring && !globalThis.document?.hidden) return void this.measure();
    this.#latency = undefined;
    this.#changed();
  }

  /** Connects now: also anew, and after {@link disconnect}. */
  reconnect(): void {
    this.client.reconnect();
  }

  disconnect(): void {
    this.client.close();
  }

  /** Ends it for good. */
  dispose(): void {
    clearInterval(this.#timer);
    this.#listeners.clear();
    this.client.close();
  }

  #changed(): void {
    this.#status = this.#make();
    for (const listener of [...this.#listeners]) listener();
  }

  #make(): ManagerStatus {
    const { state, error, delay } = this.client.status;
    const known = this.#status as ManagerStatus | undefined;
    const isSame = known?.state === stateOf(state) && known.error === error;
    return {
      state: stateOf(state),
      endpoint: this.#endpoint,
      reconnects: this.#reconnects,
      queueLength: this.#queued,
      latencies: this.#latencies,
      ...(this.#latency !== undefined && { latency: this.#latency }),
      ...(error && state !== "closed" ? { error } : {}),
      ...(state === "waiting" && { retryAt: (isSame && known.retryAt) || Date.now() + (delay ?? 0) }),
      ...(state === "open" && { openSince: (isSame && known.openSince) || Date.now() }),
    };
  }
}

const stateOf = (state: State): ConnectionState =>
  state === "open" ? "OPEN" : state === "connecting" ? "CONNECTING" : "CLOSED";
