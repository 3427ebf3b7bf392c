import { createContext, useContext, useSyncExternalStore } from "react";
import type { FrameStore } from "../model/frame-store";
import { Monitor } from "../model/monitor";

export const MonitorContext = createContext<Monitor | undefined>(undefined);

export function useMonitor(): Monitor {
  const monitor = useContext(MonitorContext);
  if (!monitor) throw new Error("there is no MonitorContext");
  return monitor;
}

/** A store's snapshot; the component is drawn again once a frame at most. */
export const useStore = <Snapshot>(store: FrameStore<Snapshot>): Snapshot =>
  useSyncExternalStore(store.subscribe, store.get);
