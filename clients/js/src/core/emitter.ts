/** Where listeners' exceptions go. */
export type Report = (error: unknown) => void;

/** What an emitter has; see {@link createEmitter}. */
export interface Emitter<Events extends object> {
  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof Events>(type: Type, listener: (value: Events[Type]) => unknown): () => void;
  /** Whether there is a listener of `type`. */
  heard(type: keyof Events): boolean;
  emit<Type extends keyof Events>(type: Type, value: Events[Type], to?: Report): void;
}

/** Calls listeners. What one of them throws, or rejects with, is reported and goes no further. */
export function createEmitter<Events extends object>(report: Report): Emitter<Events> {
  const entries = new Set<readonly [type: keyof Events, listener: (value: any) => unknown]>();
  return {
    on(type, listener) {
      const entry = [type, listener] as const;
      entries.add(entry);
      return () => entries.delete(entry);
    },
    heard: (type) => [...entries].some(([one]) => one === type),
    emit(type, value, to = report) {
      for (const [one, listener] of [...entries]) {
        try {
          const result: any = one === type && listener(value);
          // A promise, of whichever realm.
          result?.catch?.(to);
        } catch (error) {
          to(error);
        }
      }
    },
  };
}
