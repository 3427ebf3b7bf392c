import { useMemo, useSyncExternalStore } from "react";
import type { Client, FanfareError, Gap, Subscription, SubscriptionState, TopicEvent } from "../core/index.js";
import { useNewest } from "./newest.js";
import { useClient } from "./provider.js";
import { Store } from "./store.js";

/** How many events a list has. */
const LIMIT = 100;

export interface SubscriptionHandlers<T = unknown> {
  /** Where to begin, as in `client.subscribe`. */
  since?: string | undefined;
  last?: number | undefined;
  /** Called with each event, outside of rendering. The function of the newest render is called. */
  onEvent?: ((event: TopicEvent<T>) => void) | undefined;
  /** Called with each gap: load the state anew. */
  onGap?: ((gap: Gap) => void) | undefined;
}

export interface ListOptions<T = unknown> extends SubscriptionHandlers<T> {
  /**
   * How many of the newest events the list keeps: 100, or 0 where there is `onEvent`. With 0 events do not render the
   * component.
   */
  limit?: number | undefined;
}

export interface ReduceOptions<T, Value> extends SubscriptionHandlers<T> {
  /** Makes the next value of each event and each gap (`item.type` says which). It gets no other chance to see them. */
  reduce: (value: Value, item: TopicEvent<T> | Gap) => Value;
  initial: Value;
}

export interface SubscriptionStatus {
  readonly state: SubscriptionState;
  /** The newest gap: events are missing before those that came since. Load the state anew when it changes. */
  readonly gap?: Gap | undefined;
  /** Why it is rejected. */
  readonly error?: FanfareError | undefined;
}

export interface ListView<T> extends SubscriptionStatus {
  /** The newest events, the oldest first; the same array until there is another. */
  readonly events: readonly TopicEvent<T>[];
}

export interface ReducedView<Value> extends SubscriptionStatus {
  readonly value: Value;
}

/**
 * Subscribes to a topic or a pattern while the component is mounted, and keeps its newest events, or what `reduce` makes
 * of them. Without a name it waits for one. Whatever comes within 16 ms is rendered once, and nothing is left out.
 */
export function useSubscription<T, Value>(
  name: string | null | undefined,
  options: ReduceOptions<T, Value>,
): ReducedView<Value>;
export function useSubscription<T = unknown>(name: string | null | undefined, options?: ListOptions<T>): ListView<T>;
export function useSubscription(name: string | null | undefined, options: AnyOptions = {}): View {
  return useView(name, options, (client, from) => client.subscribe(name!, from));
}

/** The same of what is for the client's user alone. */
export function useInbox<T, Value>(options: ReduceOptions<T, Value>): ReducedView<Value>;
export function useInbox<T = unknown>(options?: ListOptions<T>): ListView<T>;
export function useInbox(options: AnyOptions = {}): View {
  return useView("inbox", options, (client, from) => client.inbox(from));
}

type AnyOptions = ListOptions<any> & Partial<ReduceOptions<any, any>>;
type View = ListView<any> & ReducedView<any>;
type Open = (client: Client, from: { since?: string | undefined; last?: number | undefined }) => Subscription<any>;

function useView(name: string | null | undefined, options: AnyOptions, open: Open): View {
  const client = useClient();
  const newest = useNewest(options);
  const store = useMemo(() => {
    let events: TopicEvent<any>[] = [];
    /** A copy of its newest, undefined where there are newer ones. */
    let shown: readonly TopicEvent<any>[] | undefined = [];
    let value = options.initial;
    let gap: Gap | undefined;
    let since: string | undefined;
    const limit = () => newest.current.limit ?? (newest.current.onEvent ? 0 : LIMIT);
    const initial: View = { events: shown, value, state: "pending" };
    return new Store(initial, (changed) => {
      if (!name) return () => {};
      // Mounted again, it goes on where it was.
      const subscription = open(client, { since: since ?? newest.current.since, last: newest.current.last });
      const view = (): View => {
        const { state, error } = subscription;
        // `slice(-0)` would be all of them.
        shown ??= limit() ? events.slice(-limit()) : [];
        return { events: shown, value, gap, state, error };
      };
      const take = (item: TopicEvent<any> | Gap) => {
        const { reduce } = newest.current;
        if (reduce) value = reduce(value, item);
        else if (item.type === "event") {
          if (!limit()) return;
          events.push(item);
          shown = undefined;
          // Now and then: that costs less than at each event.
          if (events.length >= 2 * limit()) events = events.slice(-limit());
        }
        changed(view);
      };
      const offs = [
        subscription.on("event", (event) => {
          take(event);
          newest.current.onEvent?.(event);
        }),
        subscription.on("gap", (item) => {
          gap = item;
          take(item);
          newest.current.onGap?.(item);
        }),
        subscription.on("state", () => changed(view)),
      ];
      return () => {
        since = subscription.position ?? since;
        for (const off of offs) off();
        subscription.unsubscribe();
      };
    });
  }, [client, name]);
  return useSyncExternalStore(store.subscribe, store.get, store.initial);
}
