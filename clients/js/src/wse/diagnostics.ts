import type { WSEClient } from "./client.js";

/** Everything that helps to find out what is wrong. Has no token and no payload in it. */
export function diagnosticsOf(client: WSEClient): object {
  const { lastMessage: _, ...state } = client.store.getState();
  return {
    timestamp: new Date().toISOString(),
    ...state,
    server: client.connection.details,
    rateLimiter: client.limiter.getStats(),
    sequencer: client.sequencer.getStats(),
    queue: client.queue.getStats(),
    latency: client.monitor.getLatencyStats(),
    handlers: client.getRegisteredHandlers(),
  };
}

/** Has the browser save them as a JSON file. */
export function download(diagnostics: object): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(diagnostics, null, 2)], { type: "application/json" }));
  link.download = `wse-diagnostics-${Date.now()}.json`;
  link.click();
  URL.revokeObjectURL(link.href);
}
