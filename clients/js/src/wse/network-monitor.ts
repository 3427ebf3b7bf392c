import { ConnectionQuality, type NetworkDiagnostics } from "./types.js";

/** Round trips of the last pings, and what they say of the connection. */
export class NetworkMonitor {
  #latencies: number[] = [];
  /** Of the last pings, whether each was answered. */
  #answered: boolean[] = [];

  constructor(
    readonly samplesMax = 100,
    private readonly now: () => number = Date.now,
  ) {}

  /** A ping was answered after so many milliseconds. */
  recordLatency(latency: number): void {
    if (!(latency >= 0 && latency < Infinity)) return;
    this.#push(this.#latencies, latency);
    this.#push(this.#answered, true);
  }

  /** A ping was not answered. */
  recordLoss(): void {
    this.#push(this.#answered, false);
  }

  /** The verdict; `unknown` before the first answer. The worst of latency, jitter and loss decides. */
  analyze(): NetworkDiagnostics {
    const { average, jitter } = this.getLatencyStats();
    const lost = this.#answered.filter((answered) => !answered).length;
    const packetLoss = this.#answered.length > 0 ? (lost / this.#answered.length) * 100 : 0;
    const quality =
      this.#latencies.length === 0
        ? ConnectionQuality.UNKNOWN
        : average > 300 || jitter > 100 || packetLoss > 3
          ? ConnectionQuality.POOR
          : average > 150 || jitter > 50 || packetLoss > 1
            ? ConnectionQuality.FAIR
            : average > 75 || jitter > 25
              ? ConnectionQuality.GOOD
              : ConnectionQuality.EXCELLENT;
    const suggestions: string[] = [];
    if (average > 150) suggestions.push("Latency is high: use a closer server");
    if (jitter > 50) suggestions.push("Jitter is high: the network is loaded or weak");
    if (packetLoss > 1) suggestions.push("Pings are lost: the connection drops out");
    const stability = Math.max(0, 100 - jitter / 2 - packetLoss);
    const lastAnalysis = this.now();
    return { quality, stability, jitter, packetLoss, roundTripTime: average, suggestions, lastAnalysis };
  }

  getLatencyStats() {
    const values = this.#latencies;
    const sorted = [...values].sort((a, b) => a - b);
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;
    const changes = values.slice(1).reduce((sum, value, i) => sum + Math.abs(value - (values[i] as number)), 0);
    return {
      current: values.at(-1) ?? null,
      average: values.length > 0 ? values.reduce((sum, value) => sum + value, 0) / values.length : 0,
      min: sorted[0] ?? null,
      max: sorted.at(-1) ?? null,
      p95: at(0.95),
      p99: at(0.99),
      jitter: values.length > 1 ? changes / (values.length - 1) : 0,
    };
  }

  reset(): void {
    this.#latencies = [];
    this.#answered = [];
  }

  #push<T>(list: T[], value: T): void {
    list.push(value);
    if (list.length > this.samplesMax) list.shift();
  }
}
