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
  /** Events in each of the last {@link SECONDS} seconds, the newest last; undefined where not all of a second was seen. */
  readonly rates: readonly (number | undefined)[];
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
  /** Events in the second that is on. */
  #second = 0;
  #rates: readonly (number | undefined)[] = new Array(SECONDS).fill(undefined);

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

  /**
   * Takes the seconds that have ended, and of each whether all of it was seen. To be called before anything is added that
   * came after them.
   */
  end(seconds: readonly boolean[]): void {
    // What has been added came in the first of them.
    const counts = seconds.map((isSeen, i) => (!isSeen ? undefined : i ? 0 : this.#second));
    const rates = [...this.#rates, ...counts].slice(-SECONDS);
    const isChanged = rates.some((rate, i) => rate !== this.#rates[i]);
    this.#rates = rates;
    this.#second = 0;
    if (isChanged) this.changed();
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
