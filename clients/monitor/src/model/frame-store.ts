/** Calls `draw` before the next frame is painted; without frames, as in Node, soon. */
const onFrame = (draw: () => void) =>
  "requestAnimationFrame" in globalThis ? requestAnimationFrame(draw) : setTimeout(draw, 0);

/**
 * What a part of the page shows. However often the state changes, the page is told once a frame; it reads a snapshot
 * that never changes.
 */
export abstract class FrameStore<Snapshot> {
  #snapshot: Snapshot | undefined;
  #isScheduled = false;
  readonly #listeners = new Set<() => void>();

  /** The state as it is now, a new object. */
  protected abstract make(): Snapshot;

  /** To be called after each change. */
  protected changed(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    onFrame(() => {
      this.#isScheduled = false;
      this.#snapshot = this.make();
      for (const listener of [...this.#listeners]) listener();
    });
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  };

  readonly get = (): Snapshot => (this.#snapshot ??= this.make());
}
