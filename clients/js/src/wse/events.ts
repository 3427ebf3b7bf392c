import type { WSMessage } from "./types.js";

/** What the protocol says that is no news for a page. */
const SILENT = /^(server_ready|server_hello|client_hello_ack|heartbeat|batch|error|gap|health_check|metrics_request|sync_request|config_update)$/;
/** What applications say in the protocol's words. */
const BORROWED = /_(response|result)$|^presence_/;

/** Errors of the server that have an event of their own besides `serverError`. `AUTH_FAILED` has `wseAuthFailed`, as it is closed. */
const ERRORS: Record<string, string> = {
  INIT_ERROR: "wseInitializationError",
  SERVER_ERROR: "wseServerError",
  SUBSCRIPTION_FAILED: "subscriptionFailed",
  RATE_LIMITED: "rateLimitExceeded",
  RATE_LIMIT_EXCEEDED: "rateLimitExceeded",
};

/** Whether a message is the protocol's own, and none of an application. */
export const isOwn = ({ c, t }: WSMessage): boolean => c === "WSE" || t === "snapshot_complete" || SILENT.test(t);

/** Tells a page of things by `CustomEvent`s on its window. */
export class PageEvents {
  constructor(private readonly target: EventTarget | undefined = typeof window === "undefined" ? undefined : window) {}

  emit(name: string, detail: unknown): void {
    this.target?.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /**
   * A message: an event by its type, whose detail is the payload, and one by its topic, `{ type, payload, topic, .. }`, if that
   * has another name. The protocol's own are in camel case, as `subscriptionUpdate`. Names that the window itself uses (`error`,
   * `message`, `storage`, ..) are `wse:error` and so on: a message must not look like the page's own events.
   */
  message(message: WSMessage): void {
    const { t, p, tp, e, o, id, cid } = message;
    if (SILENT.test(t)) return;
    const own = isOwn(message);
    if (own || BORROWED.test(t)) this.emit(t.replace(/_(.)/g, (_, char: string) => char.toUpperCase()), p);
    if (!own) this.emit(this.#safe(t), p);
    if (tp !== undefined && tp !== t) this.emit(this.#safe(tp), { type: t, payload: p, topic: tp, epoch: e, offset: o, id, cid });
  }

  /** An error of the server, by its code and as `serverError`. */
  serverError({ p }: WSMessage): void {
    const { code = "UNKNOWN_ERROR", message = "Unknown error", details = {}, retry_after, timestamp, severity = "error" } = p;
    const recoverable = p["recoverable"] !== false;
    const name = ERRORS[String(code)];
    if (typeof name === "string") this.emit(name, { message, code, recoverable, topics: [], retryAfter: retry_after, details, ...details });
    this.emit("serverError", { message, code, details: p, recoverable, timestamp, severity });
    if (!recoverable || code === "PROTOCOL_ERROR" || code === "INVALID_MESSAGE") {
      this.emit("criticalError", { code, message, shouldReconnect: p["shouldReconnect"] !== false });
    }
  }

  #safe(name: string): string {
    return this.target && (`on${name}` in this.target || name === "DOMContentLoaded") ? `wse:${name}` : name;
  }
}
