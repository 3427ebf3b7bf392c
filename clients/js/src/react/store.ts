/** Renders are at least so far apart, in milliseconds: what comes faster shares one. */
const RENDER_MS_MIN = 16;

/**
 * What one component shows of something that changes outside of React, as `useSyncExternalStore` wants it. `start` begins
 * to listen and gives what ends that; it calls `changed` with what makes the next view.
 */
export class Store<View> {
  /** What is shown first, and on a server. */
  readonly initial: () => View;
  readonly get: () => View;
  readonly subscribe: (render: () => void) => () => void;

  constructor(initial: View, start: (changed: (view: () => View) => void) => () => void) {
    let current = initial;
    this.initial = () => initial;
    this.get = () => current;
    this.subscribe = (render) => {
      let timer: ReturnType<typeof setTimeout> | undefined;
      const stop = start((view) => {
        timer ??= setTimeout(() => {
          timer = undefined;
          current = view();
          render();
        }, RENDER_MS_MIN);
      });
      return () => {
        stop();
        clearTimeout(timer);
      };
    };
  }
}
