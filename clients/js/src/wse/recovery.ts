import { POSITIONS_MAX, RECOVERY_TIMEOUT } from "./constants.js";
import type { EventSequencer } from "./sequencer.js";
import type { Gap, TopicRecoveryPosition } from "./types.js";

/** The server's own word on a loss comes within so many milliseconds behind the answer, else this client tells it. */
const GAP_GRACE = 1_000;

export interface RecoveryEvents {
  /** Asks the server for what is behind these positions. */
  request(positions: Record<string, TopicRecoveryPosition>): void;
  /** Messages are missing, and will not come. */
  onGap(gap: Gap): void;
}

/**
 * Notices that messages of a topic are missing, asks for them, once at a time, and tells what cannot be had.
 *
 * A server that does not answer cannot stop a topic: after a while its next message counts as the new beginning.
 */
export class Recovery {
  /** Whether the server keeps messages at all. */
  available = false;
  readonly #asked: Timers = new Map();
  readonly #untold: Timers = new Map();
  /** Topics of which the server knew no place: nothing had been published. */
  readonly #empty = new Set<string>();

  constructor(
    private readonly sequencer: EventSequencer,
    private readonly events: RecoveryEvents,
    private readonly timeout = RECOVERY_TIMEOUT,
  ) {}

  /** Whether a message at this place is to be delivered. */
  accept(topic: string, epoch: string, offset: number): boolean {
    this.#empty.delete(topic);
    const last = this.sequencer.getTopicPosition(topic);
    const verdict = this.sequencer.checkTopicStamp(topic, epoch, offset);
    if (verdict !== "gap" || !last) return verdict === "deliver";
    if (!this.available) {
      this.sequencer.setTopicPosition(topic, epoch, offset);
      this.events.onGap({ topic, lost: offset - last.offset - 1 });
      return true;
    }
    if (!this.#asked.has(topic)) {
      this.expect([topic]);
      this.events.request({ [topic]: last });
    }
    return false;
  }

  /** These topics were asked for, from their positions: what jumps ahead of an answer is dropped, since it comes again. */
  expect(topics: readonly string[]): void {
    for (const topic of topics) {
      clear(this.#asked, topic);
      this.#asked.set(topic, setTimeout(() => this.answered(topic), this.timeout));
    }
  }

  /** The answer for a topic: where it goes on from, `null` where nothing has been published, or that the server does not know. */
  answered(topic: string, place?: (TopicRecoveryPosition & { recovered?: boolean }) | null): void {
    const asked = this.#asked.has(topic);
    clear(this.#asked, topic);
    const last = this.sequencer.getTopicPosition(topic);
    if (!place) {
      // Its next message is the first one.
      this.sequencer.forgetTopic(topic);
      if (place === null && this.#empty.size < POSITIONS_MAX) this.#empty.add(topic);
      if (asked) this.events.onGap({ topic, lost: null });
      return;
    }
    const { epoch, offset, recovered } = place;
    const same = last?.epoch === epoch;
    if (last && same && offset <= last.offset) {
      if (recovered === false) this.sequencer.setTopicPosition(topic, epoch, offset);
      return;
    }
    this.sequencer.setTopicPosition(topic, epoch, offset);
    const empty = this.#empty.delete(topic);
    if (!last && !empty) return;
    // Where nothing was, all that is there now was missed; a server that says so counts from 0.
    const lost = !last ? offset + 1 : same ? offset - last.offset : null;
    const tell = () => {
      this.#untold.delete(topic);
      this.events.onGap({ topic, lost });
    };
    clear(this.#untold, topic);
    this.#untold.set(topic, setTimeout(tell, GAP_GRACE));
  }

  /** The server says itself what is missing. */
  told(gap: Gap): void {
    clear(this.#untold, gap.topic);
    this.events.onGap(gap);
  }

  /** Not subscribed to any longer. */
  forget(topic: string): void {
    this.sequencer.forgetTopic(topic);
    this.#empty.delete(topic);
    clear(this.#asked, topic);
    clear(this.#untold, topic);
  }

  /** The connection is gone: positions are asked for again with the next one. */
  disconnected(): void {
    for (const topic of this.#asked.keys()) clear(this.#asked, topic);
  }

  stop(): void {
    this.disconnected();
    for (const topic of this.#untold.keys()) clear(this.#untold, topic);
  }
}

type Timers = Map<string | null, ReturnType<typeof setTimeout>>;

function clear(timers: Timers, topic: string | null): void {
  clearTimeout(timers.get(topic));
  timers.delete(topic);
}
