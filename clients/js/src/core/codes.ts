import type { Remedy } from "./errors.js";

/** Close codes that are not answered with `retry`. 1008 goes by its reason. */
const remedies: Record<number, Remedy> = {
  1002: "fix",
  1003: "fix",
  1007: "fix",
  1008: "fix",
  4002: "token",
  4401: "token",
  4403: "fix",
};

/**
 * What helps after a close with this code and reason, by the table of docs/clients.md: `retry`, connect again later;
 * `token`, with another token; `fix`, give up, since the same would only happen again.
 */
export function closeRemedy(code: number, reason: string): Remedy {
  if (code === 1008 && /^Authentication (failed|required)/.test(reason)) return "token";
  if (code === 1008 && /^(Too many (connections|messages)|Message not finished)/.test(reason)) return "retry";
  return remedies[code] ?? "retry";
}

/** How long to wait after a close with this reason, at least, in milliseconds. */
export const closeDelay = (reason: string): number => (/^Too many messages/.test(reason) ? 60_000 : 0);

/** Whether a message with this error was not taken, and is sent again by this library. */
export const isSentAgain = (code: string): boolean => /^(RATE_LIMIT_EXCEEDED|BUSY|BACKEND_BUSY)$/.test(code);

/** What helps against an error of the gateway, by the table of docs/clients.md. */
export function errorRemedy(code: string): Remedy {
  if (isSentAgain(code) || /^(NO_APPLICATION|TOPIC_LIMIT|CONNECTION_LIMIT_EXCEEDED)$/.test(code)) return "retry";
  return /^(FORBIDDEN|PERMISSION_DENIED|AUTHENTICATION_FAILED)$/.test(code) ? "token" : "fix";
}
