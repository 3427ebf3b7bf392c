/** A line of the list of events. */
export interface Line {
  /** Counts lines. */
  readonly id: number;
  readonly kind: "event" | "broadcast" | "gap" | "error" | "message";
  /** When it came, in milliseconds since 1970. */
  readonly time: number;
  readonly name: string;
  /** Its data, JSON. */
  readonly text: string;
  readonly position?: string | undefined;
  readonly publisher?: string | undefined;
}

/** Lines that are kept, and their characters. Beyond either the oldest go. */
export const LINES_MAX = 2000;
export const CHARACTERS_MAX = 8_000_000;

/** The newest lines. */
export class Lines {
  readonly #lines: Line[] = [];
  #characters = 0;

  constructor(lines: readonly Line[] = []) {
    for (const line of lines) this.push(line);
  }

  push(line: Line): void {
    this.#lines.push(line);
    this.#characters += line.text.length;
    while (this.#lines.length > LINES_MAX || this.#characters > CHARACTERS_MAX) {
      this.#characters -= this.#lines.shift()!.text.length;
    }
  }

  /** Oldest first, a new array. */
  all(): Line[] {
    return [...this.#lines];
  }
}

/** Whether `filter`, in lower case, is in its name or data. */
export const matches = ({ name, text }: Line, filter: string): boolean =>
  name.toLowerCase().includes(filter) || text.toLowerCase().includes(filter);

/** Lines as JSON, one each. */
export const exportOf = (lines: readonly Line[]): string =>
  lines
    .map(({ kind, time, name, text, position, publisher }) => {
      const head = JSON.stringify({ time: new Date(time).toISOString(), kind, event: name, position, publisher });
      return `${head.slice(0, -1)},"data":${text}}`;
    })
    .join("\n");
