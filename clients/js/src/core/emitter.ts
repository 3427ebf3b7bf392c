/** Where listeners' exceptions go. */
export type Report = (error: unknown) => void;

/** Calls listeners. What one of them throws, or rejects with, is reported and goes no further. */
export class Emitter<Events extends object> {
  readonly #entries = new Set<readonly [type: keyof Events, listener: (value: any) => unknown]>();
  readonly #report: Report;

  constructor(report: Report) {
    this.#report = report;
  }

  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof Events>(type: Type, listener: (value: Events[Type]) => unknown): () => void {
    const entry = [type, listener] as const;
    this.#entries.add(entry);
    return () => void this.#entries.delete(entry);
  }

  /** Whether there is a listener of `type`. */
  heard(type: keyof Events): boolean {
    return [...this.#entries].some(([one]) => one === type);
  }

  emit<Type extends keyof Events>(type: Type, value: Events[Type], report = this.#report): void {
    for (const [one, listener] of [...this.#entries]) {
      try {
        const result = one === type && listener(value);
        if (result instanceof Promise) result.catch(report);
      } catch (error) {
        report(error);
      }
    }
  }
}
