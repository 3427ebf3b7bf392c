/**
 * What may help against an error: `retry` (the same again, later), `token` (another token), or `fix` (the program, the
 * configuration, or what is asked for; the same again fails again).
 */
export type Remedy = "retry" | "token" | "fix";

/** Everything that this library throws, rejects with and reports of itself. */
export class FanfareError extends Error {
  override readonly name = "FanfareError";

  constructor(
    /** For programs: the gateway's error code, or one of this library's, which README.md lists. */
    readonly code: string,
    /** For people; it may change. */
    message: string,
    readonly remedy: Remedy = "fix",
    /** What the gateway adds, such as `retry_after` in seconds, or `limit`. */
    readonly details: Readonly<Record<string, unknown>> = {},
    cause?: unknown,
  ) {
    super(message, { cause });
  }
}
