import type { Remedy } from "./errors.js";

/**
 * What a client does when its connection ends: connect again later, connect with another token, or give up since the
 * same would only happen again.
 */
export type CloseAction = "retry" | "token" | "end";

/** Close codes of docs/clients.md that are not answered with `retry`. 1008 goes by its reason. */
const actions: Record<number, CloseAction> = {
  1002: "end",
  1003: "end",
  1007: "end",
  1008: "end",
  4002: "token",
  4401: "token",
  4403: "end",
};

/** What to do after a close with this code and reason. */
export function closeAction(code: number, reason: string): CloseAction {
  if (code === 1008 && /^Authentication (failed|required)/.test(reason)) return "token";
  if (code === 1008 && /^(Too many (connections|messages)|Message not finished)/.test(reason)) return "retry";
  return actions[code] ?? "retry";
}

/** How long to wait after a close with this reason, at least, in milliseconds. */
export function closeDelay(reason: string): number {
  return reason.startsWith("Too many messages") ? 60_000 : 0;
}

/** Error codes after which a message was not taken and is sent again by this library, after `details.retry_after`. */
export const isSentAgain = (code: unknown): boolean => /^(RATE_LIMIT_EXCEEDED|BUSY|BACKEND_BUSY)$/.test(String(code));

/** What may help against an error of the gateway, for the program that gets it. */
export function remedyOf(code: string): Remedy {
  if (isSentAgain(code) || /^(NO_APPLICATION|TOPIC_LIMIT|CONNECTION_LIMIT_EXCEEDED)$/.test(code)) return "retry";
  return /^(FORBIDDEN|PERMISSION_DENIED|AUTHENTICATION_FAILED)$/.test(code) ? "token" : "fix";
}
