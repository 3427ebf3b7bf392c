import { DUPLICATE_AGE_MAX, DUPLICATE_IDS_MAX, POSITIONS_MAX } from "./constants.js";
import type { TopicRecoveryPosition } from "./types.js";

/** What a stamped message is, by its place. */
export type StampVerdict = "deliver" | "duplicate" | "gap";

/**
 * Keeps messages in order and single: by topic, epoch and offset where they are stamped, by their id where not.
 *
 * Holds at most `idsMax` ids, none older than `idAgeMax`, and `positionsMax` topics: beyond that the oldest are forgotten,
 * and what is forgotten counts as new.
 */
export class EventSequencer {
  #sequence = 0;
  readonly #ids = new Map<string, number>();
  readonly #positions = new Map<string, TopicRecoveryPosition>();

  constructor(
    readonly idsMax = DUPLICATE_IDS_MAX,
    readonly idAgeMax = DUPLICATE_AGE_MAX,
    readonly positionsMax = POSITIONS_MAX,
    private readonly now: () => number = Date.now,
  ) {}

  /** Numbers what is sent, from 1. */
  getNextSequence(): number {
    return ++this.#sequence;
  }

  getCurrentSequence(): number {
    return this.#sequence;
  }

  resetSequence(): void {
    this.#sequence = 0;
  }

  /** Whether `id` was seen before; it has been from now on. */
  isDuplicate(id: string): boolean {
    const now = this.now();
    for (const [old, seen] of this.#ids) {
      if (now - seen < this.idAgeMax && this.#ids.size < this.idsMax) break;
      this.#ids.delete(old);
    }
    if (this.#ids.has(id)) return true;
    this.#ids.set(id, now);
    return false;
  }

  /**
   * Whether the message at this place is to be delivered. `deliver` moves the topic's position to it. `gap` does not: those
   * before it are to be asked for, from the position.
   */
  checkTopicStamp(topic: string, epoch: string, offset: number): StampVerdict {
    const last = this.#positions.get(topic);
    if (last && last.epoch === epoch) {
      if (offset <= last.offset) return "duplicate";
      if (offset > last.offset + 1) return "gap";
    }
    this.setTopicPosition(topic, epoch, offset);
    return "deliver";
  }

  getTopicPosition(topic: string): TopicRecoveryPosition | undefined {
    return this.#positions.get(topic);
  }

  setTopicPosition(topic: string, epoch: string, offset: number): void {
    this.#positions.delete(topic);
    this.#positions.set(topic, { epoch, offset });
    if (this.#positions.size > this.positionsMax) this.#positions.delete(this.#positions.keys().next().value as string);
  }

  forgetTopic(topic: string): void {
    this.#positions.delete(topic);
  }

  getPositions(): Record<string, TopicRecoveryPosition> {
    return Object.fromEntries(this.#positions);
  }

  getStats() {
    return { currentSequence: this.#sequence, duplicateWindowSize: this.#ids.size, topics: this.#positions.size };
  }

  /** Forgets everything, for another user. A reconnect keeps it all. */
  reset(): void {
    this.#sequence = 0;
    this.#ids.clear();
    this.#positions.clear();
  }
}
