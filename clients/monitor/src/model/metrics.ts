import { FrameStore } from "./frame-store";
import { type Fields, isNumber } from "./value";

/** One reading of `system.metrics`. Rates are messages a second since the reading before, which the first one lacks. */
export interface Sample {
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

/** Readings that are kept: ten minutes of one every five seconds. */
export const SAMPLES_MAX = 120;

export class MetricsStore extends FrameStore<readonly Sample[]> {
  #samples: Sample[] = [];

  /** Takes the data of an event, or of the answer to the query `metrics`. What is no reading is left out. */
  take(data: Fields, timestamp: unknown): void {
    const { connections, subscriptions, messages_in, messages_out, uptime_seconds } = data;
    if (![connections, subscriptions, messages_in, messages_out, uptime_seconds].every(isNumber)) return;
    const time = Date.parse(String(timestamp)) || Date.now();
    const last = this.#samples.at(-1);
    if (last && time <= last.time) return;
    const reading = {
      time,
      connections: connections as number,
      subscriptions: subscriptions as number,
      uptime: uptime_seconds as number,
      messagesIn: messages_in as number,
      messagesOut: messages_out as number,
    };
    // Two readings too close to each other give no rate, and a restart begins anew.
    const seconds = last ? (time - last.time) / 1000 : 0;
    const hasRate = last && seconds >= 0.5 && reading.uptime >= last.uptime;
    this.#samples.push({
      ...reading,
      ...(hasRate && {
        rateIn: Math.max(0, reading.messagesIn - last.messagesIn) / seconds,
        rateOut: Math.max(0, reading.messagesOut - last.messagesOut) / seconds,
      }),
    });
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
    this.changed();
  }

  protected make(): readonly Sample[] {
    return [...this.#samples];
  }
}
