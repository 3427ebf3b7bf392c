import type { Remedy } from "./errors.js";

/**
 * What helps after a close with this code and reason, by the table of docs/clients.md: `retry`, connect again later;
 * `token`, with another token; `fix`, give up, since the same would only happen again.
 */
export function closeRemedy(code: number, reason: string): Remedy {
  const close = `${code} ${reason}`;
  if (/^(4002|4401|1008 Authentication )/.test(close)) return "token";
  const isFinal = /^(100[237]|4403|1008 (?!Too many (connections|messages)|Message not finished))/.test(close);
  return isFinal ? "fix" : "retry";
}

/** Whether a message with this error was not taken, and is sent again by this library. */
export const isSentAgain = (code: string): boolean => /^(RATE_LIMIT_EXCEEDED|(BACKEND_)?BUSY)$/.test(code);

/** What helps against an error of the gateway, by the table of docs/clients.md. */
export function errorRemedy(code: string): Remedy {
  if (isSentAgain(code) || /^(NO_APPLICATION|TOPIC_LIMIT|CONNECTION_LIMIT_EXCEEDED)$/.test(code)) return "retry";
  return /^(FORBIDDEN|PERMISSION_DENIED|AUTHENTICATION_FAILED)$/.test(code) ? "token" : "fix";
}
