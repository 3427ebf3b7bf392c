import { useInsertionEffect, useRef } from "react";

/** What the newest render that counts was given, for what is called outside of rendering. */
export function useLatest<T>(value: T): { readonly current: T } {
  const latest = useRef(value);
  useInsertionEffect(() => void (latest.current = value));
  return latest;
}
