import { FrameStore } from "./frame-store";
import { type Fields, isNumber } from "./value";

/** One reading of `system.metrics`. Rates are messages a second since the reading before; the first after a hole has none. */
export interface Sample {
  /**
   * Whether nothing is known of the time before it: it is the first, the one before it is older than {@link HOLE_MS}, or
   * comes from a gateway that was started at another time.
   */
  readonly isAfterHole: boolean;
  /** Milliseconds since 1970 by the gateway's clock. */
  readonly time: number;
  readonly connections: number;
  readonly subscriptions: number;
  readonly uptime: number;
  readonly messagesIn: number;
  readonly messagesOut: number;
  readonly rateIn?: number;
  readonly rateOut?: number;
}

export interface MetricsSnapshot {
  /** Readings of the ten minutes before {@link end}, oldest first. */
  readonly samples: readonly Sample[];
  /** The newest reading, however old. */
  readonly last: Sample | undefined;
  /** Whether it says how things are: the connection is open, and it is not older than {@link HOLE_MS}. */
  readonly isCurrent: boolean;
  /** How long ago it came, in milliseconds. */
  readonly age: number;
  /** Where an axis of time ends, by the gateway's clock: at the newest reading, or now where that one is not current. */
  readonly end: number;
}

/** Readings that are kept: ten minutes of one every five seconds. */
export const SAMPLES_MAX = 120;
const SPAN_MS = 600_000;
/** Of the time between two readings further apart than this nothing is known. */
export const HOLE_MS = 15_000;
/** By how much the times may differ at which two readings say that the gateway was started: they count whole seconds. */
const START_MS = 2000;

export class MetricsStore extends FrameStore<MetricsSnapshot> {
  #samples: Sample[] = [];
  /** When the newest came, by the page's clock. */
  #came = 0;
  #isOpen = false;
  #wasCurrent = false;

  /** Takes the data of an event, or of the answer to the query `metrics`. What is no reading is left out. */
  take(data: Fields, timestamp: unknown): void {
    const { connections, subscriptions, messages_in, messages_out, uptime_seconds } = data;
    if (![connections, subscriptions, messages_in, messages_out, uptime_seconds].every(isNumber)) return;
    const time = Date.parse(String(timestamp)) || Date.now();
    const newest = this.#samples.at(-1);
    const late = newest ? newest.time - time : -1;
    // The answer to a query that an event has overtaken.
    if (late >= 0 && late < HOLE_MS) return;
    // The gateway's clock was set back: what was is later than what comes.
    if (late >= 0) this.#samples = [];
    const last = this.#samples.at(-1);
    const reading = {
      time,
      connections: connections as number,
      subscriptions: subscriptions as number,
      uptime: uptime_seconds as number,
      messagesIn: messages_in as number,
      messagesOut: messages_out as number,
    };
    const ms = last ? time - last.time : Infinity;
    const isAfterHole = !last || ms > HOLE_MS || Math.abs(ms - 1000 * (reading.uptime - last.uptime)) > START_MS;
    // Two readings too close to each other give no rate.
    const seconds = ms / 1000;
    const hasRate = !isAfterHole && seconds >= 0.5;
    this.#samples.push({
      ...reading,
      isAfterHole,
      ...(hasRate && {
        rateIn: Math.max(0, reading.messagesIn - last.messagesIn) / seconds,
        rateOut: Math.max(0, reading.messagesOut - last.messagesOut) / seconds,
      }),
    });
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
    this.#came = Date.now();
    this.changed();
  }

  /** To be called about once a second, and when the connection opens or is lost: readings become old by themselves. */
  pass(isOpen: boolean): void {
    this.#isOpen = isOpen;
    const isCurrent = this.#isCurrent();
    if (this.#samples.length && !(isCurrent && this.#wasCurrent)) this.changed();
    this.#wasCurrent = isCurrent;
  }

  #isCurrent(): boolean {
    return this.#isOpen && this.#age() <= HOLE_MS;
  }

  #age(): number {
    return Math.max(0, Date.now() - this.#came);
  }

  protected make(): MetricsSnapshot {
    const last = this.#samples.at(-1);
    const isCurrent = !!last && this.#isCurrent();
    const age = this.#age();
    const end = last ? last.time + (isCurrent ? 0 : age) : 0;
    return { samples: this.#samples.filter(({ time }) => time >= end - SPAN_MS), last, isCurrent, age, end };
  }
}
