import { RECOVERY_TIMEOUT } from "./constants.js";
import type { EventSequencer } from "./sequencer.js";
import type { Gap, TopicRecoveryPosition } from "./types.js";

/** The server's own word on a loss comes within so many milliseconds behind the answer, else this client tells it. */
const GAP_GRACE = 1_000;

interface Place extends TopicRecoveryPosition {
  recovered?: boolean;
}

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
  /** Of topics that are asked for, the newest message that was dropped since it is ahead. */
  readonly #ahead = new Map<string, TopicRecoveryPosition>();
  /** Of topics whose recovered messages are on their way, the last one's offset. */
  readonly #awaited = new Map<string, number>();

  constructor(
    private readonly sequencer: EventSequencer,
    private readonly events: RecoveryEvents,
    private readonly timeout = RECOVERY_TIMEOUT,
  ) {}

  /** Whether a message at this place is to be delivered. */
  accept(topic: string, epoch: string, offset: number): boolean {
    const last = this.sequencer.getTopicPosition(topic);
    const verdict = this.sequencer.checkTopicStamp(topic, epoch, offset);
    if (verdict === "deliver" && offset >= (this.#awaited.get(topic) ?? Infinity)) this.answered(topic, { epoch, offset });
    if (verdict !== "gap" || !last) return verdict === "deliver";
    if (!this.available) {
      this.sequencer.setTopicPosition(topic, epoch, offset);
      this.events.onGap({ topic, lost: offset - last.offset - 1 });
      return true;
    }
    this.#ahead.set(topic, { epoch, offset });
    if (!this.#asked.has(topic)) this.#ask(topic, last);
    return false;
  }

  /** These topics were asked for, from their positions: what jumps ahead of an answer is dropped, since it comes again. */
  expect(topics: readonly string[]): void {
    for (const topic of topics) this.#wait(topic);
  }

  /** Waits for an answer; `otherwise` is it, if there is none. */
  #wait(topic: string, otherwise?: Place): void {
    clear(this.#asked, topic);
    this.#asked.set(topic, setTimeout(() => this.answered(topic, otherwise), this.timeout));
  }

  #ask(topic: string, from: TopicRecoveryPosition): void {
    this.#wait(topic);
    this.events.request({ [topic]: from });
  }

  /**
   * The answer for a topic: where it goes on from, if the server knows. What is `first` has the messages and another
   * answer behind it.
   */
  answered(topic: string, place?: Place, first = false): void {
    const asked = this.#asked.has(topic);
    const before = this.sequencer.getTopicPosition(topic);
    if (place?.recovered && before?.epoch === place.epoch && before.offset < place.offset) {
      // What it has recovered is still on its way: some servers answer first.
      this.#awaited.set(topic, place.offset);
      return this.#wait(topic, { ...place, recovered: false });
    }
    this.#awaited.delete(topic);
    if (!first) clear(this.#asked, topic);
    this.#settle(topic, asked, place);
    if (first) return;
    // What was dropped meanwhile, and came too late to be in the answer, is asked for once more.
    const ahead = this.#ahead.get(topic);
    this.#ahead.delete(topic);
    const now = this.sequencer.getTopicPosition(topic);
    if (ahead && now?.epoch === ahead.epoch && now.offset < ahead.offset) this.#ask(topic, now);
  }

  #settle(topic: string, asked: boolean, place?: Place): void {
    const last = this.sequencer.getTopicPosition(topic);
    if (!place) {
      // Its next message is the first one.
      this.sequencer.forgetTopic(topic);
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
    if (!last) return;
    const lost = same ? offset - last.offset : null;
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
    this.#ahead.delete(topic);
    this.#awaited.delete(topic);
    clear(this.#asked, topic);
    clear(this.#untold, topic);
  }

  /** The connection is gone: positions are asked for again with the next one. */
  disconnected(): void {
    for (const topic of this.#asked.keys()) clear(this.#asked, topic);
    this.#ahead.clear();
    this.#awaited.clear();
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
