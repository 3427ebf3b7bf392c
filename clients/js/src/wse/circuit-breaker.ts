import { CircuitBreakerState, type CircuitBreakerInfo } from "./types.js";

export interface CircuitBreakerConfig {
  /** Failures one after the other that open it. */
  failureThreshold: number;
  /** How long it stays open, in milliseconds. */
  resetTimeout: number;
  /** Successes while half open that close it. */
  successThreshold: number;
}

/** Stops trying what keeps failing: closed, then open for a while, then half open, where one failure opens it again. */
export class CircuitBreaker {
  #state: CircuitBreakerState = CircuitBreakerState.CLOSED;
  #failures = 0;
  #successes = 0;
  #failedAt: number | null = null;
  #retryAt: number | null = null;
  readonly config: CircuitBreakerConfig;

  constructor(
    config: Partial<CircuitBreakerConfig> = {},
    private readonly now: () => number = Date.now,
  ) {
    this.config = { failureThreshold: 5, resetTimeout: 60_000, successThreshold: 3, ...config };
  }

  /** Runs `work` and counts how it ends. Rejects with "Circuit breaker is OPEN" without running it where it is open. */
  async execute<T>(work: () => Promise<T>): Promise<T> {
    if (!this.canExecute()) throw new Error("Circuit breaker is OPEN");
    try {
      const result = await work();
      this.recordSuccess();
      return result;
    } catch (error) {
      this.recordFailure();
      throw error;
    }
  }

  canExecute(): boolean {
    if (this.#state === CircuitBreakerState.OPEN) {
      if (this.#retryAt !== null && this.now() < this.#retryAt) return false;
      this.#state = CircuitBreakerState.HALF_OPEN;
      this.#successes = 0;
    }
    return true;
  }

  recordSuccess(): void {
    if (this.#state === CircuitBreakerState.CLOSED) this.#failures = 0;
    else if (this.#state === CircuitBreakerState.HALF_OPEN && ++this.#successes >= this.config.successThreshold) this.reset();
  }

  recordFailure(): void {
    this.#failures++;
    this.#failedAt = this.now();
    const half = this.#state === CircuitBreakerState.HALF_OPEN;
    if (half || (this.#state === CircuitBreakerState.CLOSED && this.#failures >= this.config.failureThreshold)) {
      this.#state = CircuitBreakerState.OPEN;
      this.#retryAt = this.#failedAt + this.config.resetTimeout;
    }
  }

  getState(): CircuitBreakerState {
    return this.#state;
  }

  getInfo(): CircuitBreakerInfo {
    return {
      state: this.#state,
      failures: this.#failures,
      lastFailureTime: this.#failedAt,
      successCount: this.#successes,
      nextRetryTime: this.#retryAt,
      threshold: this.config.failureThreshold,
      timeout: this.config.resetTimeout,
    };
  }

  reset(): void {
    this.#state = CircuitBreakerState.CLOSED;
    this.#failures = this.#successes = 0;
    this.#failedAt = this.#retryAt = null;
  }
}
