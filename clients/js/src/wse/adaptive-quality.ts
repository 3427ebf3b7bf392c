import { ConnectionQuality } from "./types.js";

/** What of a React Query `QueryClient` is used. */
export interface QueryClientLike {
  getDefaultOptions?(): { queries?: object };
  setDefaultOptions(options: { queries: Record<string, any> }): void;
  invalidateQueries(): unknown;
}

export interface QualityStrategy {
  name: string;
  staleTime: number;
  refetchInterval: number | false;
  refetchOnWindowFocus: boolean;
}

/** How much an application should rely on what is pushed to it: wholly, or with polling besides. Times in milliseconds. */
export const QUALITY_STRATEGIES: Record<ConnectionQuality, QualityStrategy> = {
  excellent: { name: "WebSocket Optimized", staleTime: Infinity, refetchInterval: false, refetchOnWindowFocus: false },
  good: { name: "WebSocket Primary", staleTime: 60_000, refetchInterval: false, refetchOnWindowFocus: false },
  fair: { name: "Hybrid Mode", staleTime: 10_000, refetchInterval: 30_000, refetchOnWindowFocus: true },
  poor: { name: "Polling Fallback", staleTime: 5_000, refetchInterval: 10_000, refetchOnWindowFocus: true },
  unknown: { name: "Conservative", staleTime: 5_000, refetchInterval: 15_000, refetchOnWindowFocus: true },
};

/**
 * Adapts an application to the quality of its connection: tells `onChange`, and sets the defaults of queries of a React
 * Query client if it has one. Other defaults of that client stay, and {@link destroy} gives back those that were.
 */
export class AdaptiveQualityManager {
  #quality: ConnectionQuality | null = null;
  readonly #before: object | undefined;

  constructor(
    private readonly queryClient?: QueryClientLike | null,
    private readonly onChange?: (quality: ConnectionQuality, strategy: QualityStrategy, before: ConnectionQuality | null) => void,
  ) {
    this.#before = queryClient?.getDefaultOptions?.();
  }

  updateQuality(quality: ConnectionQuality): void {
    const before = this.#quality;
    if (quality === before) return;
    this.#quality = quality;
    const strategy = QUALITY_STRATEGIES[quality];
    const { name: _, ...queries } = strategy;
    const others = this.queryClient?.getDefaultOptions?.();
    this.queryClient?.setDefaultOptions({ ...others, queries: { ...others?.queries, ...queries } });
    // What came while it was bad may have been missed.
    if (quality === ConnectionQuality.POOR) void this.queryClient?.invalidateQueries();
    this.onChange?.(quality, strategy, before);
  }

  /** As after a connection is lost: nothing is known. */
  reset(): void {
    this.updateQuality(ConnectionQuality.UNKNOWN);
  }

  getCurrentQuality(): ConnectionQuality | null {
    return this.#quality;
  }

  getCurrentStrategy(): QualityStrategy {
    return QUALITY_STRATEGIES[this.#quality ?? "unknown"];
  }

  destroy(): void {
    if (this.#quality !== null && this.#before) this.queryClient?.setDefaultOptions({ queries: {}, ...this.#before });
    this.#quality = null;
  }
}
