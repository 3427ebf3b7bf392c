import { useInsertionEffect, useRef } from "react";

/** What the newest render that counts was given, for what is called outside of rendering. */
export function useNewest<T>(value: T): { readonly current: T } {
  const newest = useRef(value);
  useInsertionEffect(() => void (newest.current = value));
  return newest;
}
