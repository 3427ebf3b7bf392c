import { FrameStore } from "./frame-store";
import { type Line, Lines, matches } from "./lines";

export interface EventsSnapshot {
  /** Those that the filter lets through, oldest first. */
  readonly lines: readonly Line[];
  /** Events since the page was opened. */
  readonly total: number;
  readonly filter: string;
  readonly isPaused: boolean;
  /** Lines that came since it was paused, and match. */
  readonly missed: number;
  /** Events in each of the last {@link SECONDS} seconds, the newest last. */
  readonly rates: readonly number[];
}

export const SECONDS = 60;

/** The newest events, of which a filter shows some and a pause holds those that are seen. */
export class EventsStore extends FrameStore<EventsSnapshot> {
  #all = new Lines();
  /** Those that match the filter: a rare one stays while others come. */
  #matching = this.#all;
  /** What there was when it was paused, and how much had matched. */
  #held: { all: readonly Line[]; shown: readonly Line[]; matched: number } | undefined;
  #filter = "";
  #id = 0;
  #matched = 0;
  #total = 0;
  #second = 0;
  #rates: readonly number[] = new Array(SECONDS).fill(0);

  add({ data, ...line }: Omit<Line, "id" | "time" | "text"> & { data: unknown }): void {
    const whole: Line = { ...line, id: ++this.#id, time: Date.now(), text: JSON.stringify(data) ?? "null" };
    if (line.kind === "event" || line.kind === "broadcast") {
      this.#total += 1;
      this.#second += 1;
    }
    this.#all.push(whole);
    if (matches(whole, this.#filter)) {
      this.#matched += 1;
      if (this.#filter) this.#matching.push(whole);
    }
    this.changed();
  }

  /** Shows what has `text` in its name or data, in whatever case. */
  setFilter(text: string): void {
    this.#filter = text.trim().toLowerCase();
    const select = (lines: readonly Line[]) => lines.filter((line) => matches(line, this.#filter));
    this.#matching = this.#filter ? new Lines(select(this.#all.all())) : this.#all;
    if (this.#held) this.#held = { all: this.#held.all, shown: select(this.#held.all), matched: this.#matched };
    this.changed();
  }

  setPaused(isPaused: boolean): void {
    this.#held = isPaused ? { all: this.#all.all(), shown: this.#matching.all(), matched: this.#matched } : undefined;
    this.changed();
  }

  clear(): void {
    this.#all = new Lines();
    this.#matching = this.#filter ? new Lines() : this.#all;
    if (this.#held) this.#held = { all: [], shown: [], matched: this.#matched };
    this.changed();
  }

  /** To be called once a second. */
  tick(): void {
    const wasQuiet = !this.#second && this.#rates.every((rate) => !rate);
    this.#rates = [...this.#rates.slice(1), this.#second];
    this.#second = 0;
    if (!wasQuiet) this.changed();
  }

  protected make(): EventsSnapshot {
    return {
      lines: this.#held ? this.#held.shown : this.#matching.all(),
      total: this.#total,
      filter: this.#filter,
      isPaused: !!this.#held,
      missed: this.#held ? this.#matched - this.#held.matched : 0,
      rates: this.#rates,
    };
  }
}
