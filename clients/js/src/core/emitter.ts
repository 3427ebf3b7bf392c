/** Where listeners' exceptions go. */
export type Report = (error: unknown) => void;

/** Calls listeners. What one of them throws, or rejects with, is reported and goes no further. */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<(value: any) => unknown>>();
  readonly #report: Report;

  /** @internal */
  constructor(report: Report) {
    this.#report = report;
  }

  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof Events>(type: Type, listener: (value: Events[Type]) => unknown): () => void {
    let listeners = this.#listeners.get(type);
    if (!listeners) this.#listeners.set(type, (listeners = new Set()));
    // One function may be given twice: each has an end of its own.
    const own = (value: Events[Type]) => listener(value);
    listeners.add(own);
    return () => void listeners.delete(own);
  }

  /** @internal Whether there is a listener of `type`. */
  heard(type: keyof Events): boolean {
    return !!this.#listeners.get(type)?.size;
  }

  /** @internal */
  emit<Type extends keyof Events>(type: Type, value: Events[Type], report = this.#report): void {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        const result = listener(value);
        if (result instanceof Promise) result.catch(report);
      } catch (error) {
        report(error);
      }
    }
  }
}
