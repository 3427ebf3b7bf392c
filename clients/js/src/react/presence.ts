import { useMemo, useSyncExternalStore } from "react";
import type { Client, PresenceChange, SubscriptionState } from "../core/index.js";
import { useClient } from "./provider.js";
import { Store } from "./store.js";

/** Users in a list, and the most that the gateway gives at once. */
const LIMIT = 100;
const LIMIT_MAX = 1000;

/** Changes that wait for the answer that they come after. */
const CHANGES_MAX = 1000;

export interface PresenceOptions {
  /** How many users the list has: 100, at most 1,000. */
  limit?: number | undefined;
}

export interface PresentUser {
  readonly user: string;
  /** What the user said of itself, where it did. */
  readonly data?: unknown;
}

export interface PresenceView {
  /** Who is there, as many as `limit` says. */
  readonly users: readonly PresentUser[];
  /** How many are there. */
  readonly count: number;
  /** While it is not `active`, users may come and go unseen. */
  readonly state: SubscriptionState;
  /** Why it is not known: `NO_PRESENCE`, `FORBIDDEN`, .. */
  readonly error?: unknown;
}

/**
 * Who is subscribed to a topic, whose namespace has `presence = true`, as long as the component is mounted. The component
 * is there itself.
 */
export function usePresence(topic: string | null | undefined, options: PresenceOptions = {}): PresenceView {
  const client = useClient();
  const limit = Math.max(1, Math.min(options.limit ?? LIMIT, LIMIT_MAX));
  const store = useMemo(() => presence(client, topic, limit), [client, topic, limit]);
  return useSyncExternalStore(store.subscribe, store.get, store.initial);
}

function presence(client: Client, topic: string | null | undefined, limit: number): Store<PresenceView> {
  return new Store<PresenceView>({ users: [], count: 0, state: "pending" }, (changed) => {
    if (!topic) return () => {};
    const subscription = client.subscribe(topic);
    let users = new Map<string, PresentUser>();
    let count = 0;
    let failure: unknown;
    /** The newest change that is in `users`; while it is not known, changes wait. */
    let seq: number | undefined;
    let changes: PresenceChange[] = [];
    let asked = new AbortController();
    const render = () =>
      changed(() => {
        const { state, error = failure } = subscription;
        return { users: [...users.values()], count, state, error };
      });

    async function load(): Promise<void> {
      asked.abort();
      asked = new AbortController();
      const { signal } = asked;
      seq = undefined;
      changes = [];
      try {
        const answer = await client.query("presence", { event: topic, limit }, { signal });
        if (signal.aborted) return;
        users = new Map(answer.users.map(({ user, data }: PresentUser) => [user, { user, data }]));
        count = answer.count;
        seq = Number(answer.presence_seq);
        failure = undefined;
        for (const change of changes) apply(change);
      } catch (error) {
        if (signal.aborted) return;
        failure = error;
      }
      render();
    }

    function apply(change: PresenceChange): void {
      const { action, user, data } = change;
      if (seq === undefined) {
        // Without the oldest there is a jump.
        if (changes.push(change) > CHANGES_MAX) changes.shift();
        return;
      }
      if (change.seq <= seq) return;
      if (change.seq !== seq + 1) return void load();
      seq += 1;
      count = change.users;
      if (action === "leave") users.delete(user);
      else if (users.has(user) || users.size < limit) users.set(user, { user, data });
      // There are others to show.
      if (users.size < limit / 2 && users.size < count) void load();
      render();
    }

    const offs = [
      // Without listeners its events would fill a buffer, and its gaps be reported.
      subscription.on("event", () => {}),
      subscription.on("gap", () => {}),
      subscription.on("presence", apply),
      subscription.on("state", (state) => {
        if (state === "active") void load();
        render();
      }),
    ];
    return () => {
      for (const off of offs) off();
      asked.abort();
      subscription.unsubscribe();
    };
  });
}
