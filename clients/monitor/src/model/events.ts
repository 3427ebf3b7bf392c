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
  /** What there was when it was paused, the id of the newest line then, and how many have come since that match. */
  #held: { all: readonly Line[]; shown: readonly Line[]; newest: number; missed: number } | undefined;
  #filter = "";
  #id = 0;
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
      if (this.#held) this.#held.missed += 1;
      if (this.#filter) this.#matching.push(whole);
    }
    this.changed();
  }

  /** Shows what has `text` in its name or data, in whatever case. */
  setFilter(text: string): void {
    const filter = text.trim().toLowerCase();
    if (filter === this.#filter) return;
    this.#filter = filter;
    const select = (lines: readonly Line[]) => lines.filter((line) => matches(line, this.#filter));
    const found = this.#filter ? select(this.#all.all()) : [];
    this.#matching = this.#filter ? new Lines(found) : this.#all;
    if (this.#held) {
      const { all, newest } = this.#held;
      // Of those that are gone it is not known whether they match, unless all do.
      const missed = this.#filter ? found.filter(({ id }) => id > newest).length : this.#id - newest;
      this.#held = { all, shown: select(all), newest, missed };
    }
    this.changed();
  }

  setPaused(isPaused: boolean): void {
    this.#held = isPaused ? { all: this.#all.all(), shown: this.#matching.all(), newest: this.#id, missed: 0 } : undefined;
    this.changed();
  }

  clear(): void {
    this.#all = new Lines();
    this.#matching = this.#filter ? new Lines() : this.#all;
    if (this.#held) this.#held = { all: [], shown: [], newest: this.#id, missed: 0 };
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
      missed: this.#held?.missed ?? 0,
      rates: this.#rates,
    };
  }
}
