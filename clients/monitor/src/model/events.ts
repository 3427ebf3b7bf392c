import { FrameStore } from "./frame-store";

/** A line of the list. */
export interface Line {
  /** Counts lines. */
  readonly id: number;
  readonly kind: "event" | "broadcast" | "gap" | "error" | "message";
  /** When it came, in milliseconds since 1970. */
  readonly time: number;
  readonly name: string;
  readonly data: unknown;
  readonly position?: string | undefined;
  readonly publisher?: string | undefined;
}

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

/** Lines that are kept; with a filter, as many that match besides. The oldest go first. */
export const LINES_MAX = 2000;
export const SECONDS = 60;

/** The newest events, of which a filter shows some and a pause holds those that are seen. */
export class EventsStore extends FrameStore<EventsSnapshot> {
  #all: Line[] = [];
  #matching = this.#all;
  /** What is shown while it is paused, before the filter. */
  #held: { all: readonly Line[]; shown: readonly Line[]; since: number } | undefined;
  #filter = "";
  #id = 0;
  #matched = 0;
  #total = 0;
  #second = 0;
  #rates: readonly number[] = new Array(SECONDS).fill(0);

  add(line: Omit<Line, "id" | "time">): void {
    const whole: Line = { ...line, id: ++this.#id, time: Date.now() };
    if (line.kind === "event" || line.kind === "broadcast") {
      this.#total += 1;
      this.#second += 1;
    }
    push(this.#all, whole);
    if (!this.#filter) this.#matched += 1;
    else if (matches(whole, this.#filter)) {
      this.#matched += 1;
      push(this.#matching, whole);
    }
    this.changed();
  }

  /** Shows what has `text` in its name or data, in whatever case. */
  setFilter(text: string): void {
    this.#filter = text.trim().toLowerCase();
    const select = (lines: readonly Line[]) => lines.filter((line) => matches(line, this.#filter));
    this.#matching = this.#filter ? select(this.#all) : this.#all;
    if (this.#held) this.#held = { all: this.#held.all, shown: select(this.#held.all), since: this.#matched };
    this.changed();
  }

  setPaused(isPaused: boolean): void {
    const newest = this.#matching.slice(-LINES_MAX);
    this.#held = isPaused ? { all: this.#all.slice(-LINES_MAX), shown: newest, since: this.#matched } : undefined;
    this.changed();
  }

  clear(): void {
    this.#all = [];
    this.#matching = this.#filter ? [] : this.#all;
    if (this.#held) this.#held = { all: [], shown: [], since: this.#matched };
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
      lines: this.#held ? this.#held.shown : this.#matching.slice(-LINES_MAX),
      total: this.#total,
      filter: this.#filter,
      isPaused: !!this.#held,
      missed: this.#held ? this.#matched - this.#held.since : 0,
      rates: this.#rates,
    };
  }
}

/** Appends; removes what is too old in large pieces, so that each line is moved once. */
function push(lines: Line[], line: Line): void {
  lines.push(line);
  if (lines.length >= 2 * LINES_MAX) lines.splice(0, lines.length - LINES_MAX);
}

const texts = new WeakMap<Line, string>();

/** Its data as JSON, made once. */
export function textOfLine(line: Line): string {
  let text = texts.get(line);
  if (text === undefined) texts.set(line, (text = JSON.stringify(line.data) ?? ""));
  return text;
}

const matches = (line: Line, filter: string): boolean =>
  line.name.toLowerCase().includes(filter) || textOfLine(line).toLowerCase().includes(filter);

/** Lines as JSON, one each, oldest first. */
export const exportOf = (lines: readonly Line[]): string =>
  lines
    .map(({ kind, time, name, data, position, publisher }) =>
      JSON.stringify({ time: new Date(time).toISOString(), kind, event: name, data, position, publisher }),
    )
    .join("\n");
