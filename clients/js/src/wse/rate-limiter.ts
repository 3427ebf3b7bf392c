import { RATE_LIMIT_CAPACITY, RATE_LIMIT_REFILL } from "./constants.js";

/** A token bucket: `capacity` at once, and `refillRate` more each whole `refillInterval` milliseconds. */
export class RateLimiter {
  #tokens: number;
  #refilled: number;

  constructor(
    readonly capacity = RATE_LIMIT_CAPACITY,
    readonly refillRate = RATE_LIMIT_REFILL,
    readonly refillInterval = 1_000,
    private readonly now: () => number = Date.now,
  ) {
    this.#tokens = capacity;
    this.#refilled = now();
  }

  /** Takes one token; false where there is none. */
  canSend(): boolean {
    return this.tryConsume(1);
  }

  /** Takes `tokens`, all or none. */
  tryConsume(tokens = 1): boolean {
    this.#refill();
    if (this.#tokens < tokens) return false;
    this.#tokens -= tokens;
    return true;
  }

  /** Seconds until there is a token. */
  getRetryAfter(): number {
    this.#refill();
    if (this.#tokens >= 1) return 0;
    const intervals = Math.ceil((1 - this.#tokens) / this.refillRate);
    return Math.max(0, this.#refilled + intervals * this.refillInterval - this.now()) / 1000;
  }

  getAvailableTokens(): number {
    this.#refill();
    return this.#tokens;
  }

  getStats() {
    const { capacity, refillRate, refillInterval } = this;
    return { availableTokens: this.getAvailableTokens(), capacity, refillRate, refillInterval, retryAfter: this.getRetryAfter() };
  }

  reset(): void {
    this.#tokens = this.capacity;
    this.#refilled = this.now();
  }

  #refill(): void {
    const elapsed = this.now() - this.#refilled;
    // A clock that was set back starts anew, else nothing would be refilled until it is where it was.
    if (elapsed < 0) this.#refilled = this.now();
    const intervals = Math.floor(elapsed / this.refillInterval);
    if (intervals <= 0) return;
    this.#tokens = Math.min(this.capacity, this.#tokens + intervals * this.refillRate);
    this.#refilled += intervals * this.refillInterval;
  }
}
