/** How long a page that is at work may be without a sign: readings of the metrics wake it every five seconds. */
const SILENCE_MAX_MS = 6000;

/** Seconds by the clock. A timer counts none: it comes once a minute in a hidden page, and not at all while the computer sleeps. */
export class Seconds {
  /** When the second that is on began, in milliseconds since 1970. */
  #begun = Date.now();
  #passed = this.#begun;

  /**
   * How many have ended since the last call, and whether the page was at work in them. To be called at every sign that it
   * is. After a silence a new second begins: none is seen in part.
   */
  pass(): { ended: number; isSeen: boolean } {
    const now = Date.now();
    const silence = now - this.#passed;
    // A clock that was set back tells nothing either.
    const isSeen = silence >= 0 && silence <= SILENCE_MAX_MS;
    const seconds = (now - this.#begun) / 1000;
    const ended = isSeen ? Math.floor(seconds) : Math.max(1, Math.round(seconds));
    this.#begun = isSeen ? this.#begun + 1000 * ended : now;
    this.#passed = now;
    return { ended, isSeen };
  }
}
