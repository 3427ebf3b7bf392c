import { useSyncExternalStore } from "react";
import { logger } from "./logger.js";

/** A state outside of React, used as a hook: whole, or what a selector makes of it, which must not be a new object each time. */
export interface Store<T> {
  (): T;
  <S>(selector: (state: T) => S): S;
  getState(): T;
  setState(patch: Partial<T> | ((state: T) => Partial<T>)): void;
  getInitialState(): T;
  /** Calls back after each change, or each of what a selector gives. The result ends it. */
  subscribe(listener: (state: T, before: T) => void): () => void;
  subscribe<S>(selector: (state: T) => S, listener: (selected: S, before: S) => void): () => void;
}

export function createStore<T extends object>(initial: T): Store<T> {
  let state = initial;
  const listeners = new Set<(state: T, before: T) => void>();
  const subscribe = <S>(first: any, second?: (selected: S, before: S) => void): (() => void) => {
    const listener = second
      ? (now: T, before: T) => Object.is(first(now), first(before)) || second(first(now), first(before))
      : first;
    listeners.add(listener);
    return () => void listeners.delete(listener);
  };
  const getState = () => state;
  const use = <S>(selector: (state: T) => S = (all) => all as unknown as S): S =>
    useSyncExternalStore(subscribe, () => selector(state), () => selector(initial));
  const setState = (patch: Partial<T> | ((state: T) => Partial<T>)) => {
    const change = typeof patch === "function" ? patch(state) : patch;
    if (Object.entries(change).every(([key, value]) => Object.is(state[key as keyof T], value))) return;
    const before = state;
    state = { ...state, ...change };
    for (const listener of [...listeners]) {
      try {
        listener(state, before);
      } catch (error) {
        logger.error("a listener has thrown:", error);
      }
    }
  };
  return Object.assign(use, { getState, setState, getInitialState: () => initial, subscribe }) as Store<T>;
}
