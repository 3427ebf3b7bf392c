import type { EndpointStats, LoadBalancingStrategy } from "./types.js";

interface Endpoint {
  score: number;
  connections: number;
  latency: number | null;
  failuresInRow: number;
  successesInRow: number;
  lastFailure: number | null;
  lastSuccess: number | null;
}

export interface ConnectionPoolConfig {
  endpoints?: readonly string[];
  loadBalancingStrategy?: LoadBalancingStrategy;
  /** An endpoint with this score or less is not chosen while there are better ones. */
  minHealthScore?: number;
  /** Milliseconds in which a score comes half way back to 100, so that a server that was down is tried again. */
  recoveryHalfLife?: number;
  random?: () => number;
  now?: () => number;
}

/**
 * Endpoints and how well they do. A score is 0 to 100: a failure costs 10, the next in a row 20, then 30; a success gives
 * 5 to 20, by latency and by how many there were in a row.
 */
export class ConnectionPool {
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #strategy: LoadBalancingStrategy;
  #turn = 0;
  #active: string | null = null;
  #preferred: string | null = null;
  readonly #min: number;
  readonly #halfLife: number;
  readonly #random: () => number;
  readonly #now: () => number;

  constructor(config: ConnectionPoolConfig = {}) {
    this.#strategy = config.loadBalancingStrategy ?? "weighted-random";
    this.#min = config.minHealthScore ?? 10;
    this.#halfLife = config.recoveryHalfLife ?? 60_000;
    this.#random = config.random ?? Math.random;
    this.#now = config.now ?? Date.now;
    for (const url of config.endpoints ?? []) this.addEndpoint(url);
  }

  /**
   * The endpoint to connect to: the preferred one while it does well, else by the strategy among those that do. `avoid`, the
   * one that has just failed, is only chosen where there is no other.
   */
  getBestEndpoint(avoid?: string | null): string | undefined {
    const all = [...this.#endpoints.keys()];
    const others = all.filter((url) => url !== avoid);
    const choice = others.length > 0 ? others : all;
    const healthy = choice.filter((url) => this.#score(url) > this.#min);
    if (this.#preferred !== null && healthy.includes(this.#preferred)) return this.#preferred;
    if (healthy.length === 0) return choice.sort((a, b) => this.#score(b) - this.#score(a))[0];
    if (this.#strategy === "round-robin") return healthy[this.#turn++ % healthy.length];
    if (this.#strategy === "least-connections") {
      return healthy.sort((a, b) => this.#at(a).connections - this.#at(b).connections || this.#score(b) - this.#score(a))[0];
    }
    let rest = this.#random() * healthy.reduce((sum, url) => sum + this.#score(url), 0);
    return healthy.find((url) => (rest -= this.#score(url)) < 0) ?? healthy[0];
  }

  /** Counts a success, with its latency in milliseconds if one was measured. */
  recordSuccess(url: string, latency?: number): void {
    const endpoint = this.#endpoints.get(url);
    if (!endpoint) return;
    const score = this.#score(url);
    endpoint.lastSuccess = this.#now();
    endpoint.successesInRow++;
    endpoint.failuresInRow = 0;
    if (latency !== undefined && latency >= 0) {
      endpoint.latency = endpoint.latency === null ? latency : endpoint.latency * 0.8 + latency * 0.2;
    }
    const { latency: mean } = endpoint;
    const quick = mean === null || mean >= 200 ? 0 : mean < 50 ? 5 : mean < 100 ? 3 : 1;
    endpoint.score = Math.min(100, score + 5 + quick + Math.min(10, endpoint.successesInRow * 2));
  }

  recordFailure(url: string): void {
    const endpoint = this.#endpoints.get(url);
    if (!endpoint) return;
    const score = this.#score(url);
    endpoint.lastFailure = this.#now();
    endpoint.failuresInRow++;
    endpoint.successesInRow = 0;
    endpoint.score = Math.max(0, score - Math.min(30, endpoint.failuresInRow * 10));
  }

  /** Counts connections, for `least-connections`: pools may be shared by several. */
  addConnection(url: string): void {
    const endpoint = this.#endpoints.get(url);
    if (endpoint) endpoint.connections++;
    this.#active = url;
  }

  removeConnection(url: string): void {
    const endpoint = this.#endpoints.get(url);
    if (endpoint) endpoint.connections = Math.max(0, endpoint.connections - 1);
    if (this.#active === url) this.#active = null;
  }

  addEndpoint(url: string): void {
    if (this.#endpoints.has(url)) return;
    const none = { lastFailure: null, lastSuccess: null, latency: null };
    this.#endpoints.set(url, { score: 100, connections: 0, failuresInRow: 0, successesInRow: 0, ...none });
  }

  setPreferredEndpoint(url: string | null): void {
    this.#preferred = url;
  }

  getHealthScores(): Record<string, number> {
    return Object.fromEntries(this.getEndpointStats().map(({ url, healthScore }) => [url, healthScore]));
  }

  getEndpointStats(): EndpointStats[] {
    return [...this.#endpoints].map(([url, { connections, latency, lastFailure, lastSuccess }]) => ({
      url,
      healthScore: Math.round(this.#score(url)),
      connectionCount: connections,
      averageLatency: latency,
      isActive: url === this.#active,
      isPreferred: url === this.#preferred,
      lastFailure,
      lastSuccess,
    }));
  }

  #at(url: string): Endpoint {
    return this.#endpoints.get(url) as Endpoint;
  }

  /** The score as of now: that of an endpoint that failed comes back with time. */
  #score(url: string): number {
    const { score, lastFailure } = this.#at(url);
    if (lastFailure === null) return score;
    const age = Math.max(0, this.#now() - lastFailure);
    return 100 - (100 - score) * 0.5 ** (age / this.#halfLife);
  }
}
