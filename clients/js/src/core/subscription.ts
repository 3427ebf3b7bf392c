import { type Emitter, type Report, createEmitter } from "./emitter.js";
import { FanfareError } from "./errors.js";
import { isPattern, matcher } from "./pattern.js";
import { isPast, isPlace, sameEpoch } from "./place.js";

/** An event of a topic, each once and in the topic's order. */
export interface TopicEvent<T = unknown> {
  readonly type: "event";
  readonly topic: string;
  /** What the event is called: like its topic, unless it was published with a `type`. */
  readonly name: string;
  readonly data: T;
  /** Its place in its topic, for `since` of a subscription to that topic. */
  readonly position: string;
  /** The user who published it, where the gateway says so. */
  readonly publisher?: string;
  /** When it was published, RFC 3339. */
  readonly timestamp?: string;
}

/** Events are missing here: load the state of the topic anew. It comes before anything newer. */
export interface Gap {
  readonly type: "gap";
  /** A topic, or a pattern where it is not known of which of its topics. */
  readonly topic: string;
  /** How many; null where that cannot be known. */
  readonly lost: number | null;
  /** `gateway`: it could not give them; `buffer`: this subscription's buffer was full. */
  readonly reason: "gateway" | "buffer";
  readonly data?: undefined;
  readonly position?: undefined;
}

/** Somebody came to a topic, left it, or has other data. No event: it moves no position. */
export interface PresenceChange {
  readonly topic: string;
  readonly action: "join" | "leave" | "update" | (string & {});
  readonly user: string;
  /** How many users there are then. */
  readonly users: number;
  readonly data?: unknown;
  /** Counts the topic's changes without holes: after a jump, and whenever the state is `active` anew, ask again. */
  readonly seq: number;
}

/**
 * `pending`: not confirmed, or not connected; `active`: every event comes; `rejected`: the gateway refuses it, and is
 * asked again with the next connection; `ended`: unsubscribed.
 */
export type SubscriptionState = "pending" | "active" | "rejected" | "ended";

export interface SubscriptionOptions {
  /**
   * Where to go on: the `position` of this subscription, or of an event of the topic, from earlier. What was missed comes
   * first, or a gap if it is not kept, or if this is no position.
   */
  since?: string | undefined;
  /**
   * Without `since`: begin with so many of the topic's newest events, or as many as it keeps. Not for patterns, nor
   * over SSE for a topic that another subscription has already, nor, as `since`, for a topic that a pattern of this
   * client has already: that is a gap, to both; ask `history`.
   */
  last?: number | undefined;
  /** How many events wait for a loop over this subscription, at most (1,000). */
  buffer?: number | undefined;
  /**
   * What happens when more come: `drop-oldest` (the default) makes room, and a gap in their place says so; `end` ends the
   * subscription, with the error `BUFFER_FULL`.
   */
  overflow?: "drop-oldest" | "end" | undefined;
}

export interface SubscriptionEvents<T> {
  event: TopicEvent<T>;
  gap: Gap;
  presence: PresenceChange;
  state: SubscriptionState;
}

/** A confirmation's place of a topic. */
export interface Confirmed {
  epoch: number | string;
  offset: number | string;
  recovered?: boolean;
  count?: number;
}

/** A subscription, and what its client has to do with it. */
export interface Member {
  readonly subscription: Subscription<any>;
  readonly name: string;
  /** How many of the newest events to begin with. */
  readonly last: number;
  /** The places to go on from, by topic, the newest last. */
  readonly places: ReadonlyMap<string, string>;
  /** Whether a topic's events are its. */
  covers(topic: string): boolean;
  emit: Emitter<SubscriptionEvents<unknown>>["emit"];
  change(state: SubscriptionState, error?: FanfareError): void;
  /** What a confirmation says of topics. */
  begin(topics: readonly (readonly [topic: string, place: Confirmed])[]): void;
  take(event: TopicEvent<any>): void;
  /** Where a topic stands that has had no event yet. */
  place(topic: string, place: string): void;
  /** Gives whether a confirmation has announced it. */
  gap(topic: string, lost: number | null): boolean;
}

/**
 * The events of a topic, or of those that a pattern covers. Listeners get them as they come; a loop,
 * `for await (const event of subscription)`, gets them and gaps from a buffer, and leaving it unsubscribes. What comes
 * while there is neither waits in the buffer.
 */
export interface Subscription<T = unknown> extends AsyncIterable<TopicEvent<T> | Gap> {
  /** The topic or pattern. */
  readonly name: string;
  readonly state: SubscriptionState;
  /** Why it is rejected, or has ended by itself. */
  readonly error: FanfareError | undefined;
  /**
   * Behind the last event that a listener or a loop has got: what to give as `since` later, also after a page was
   * loaded anew. Undefined until the subscription is confirmed.
   */
  readonly position: string | undefined;
  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  on<Type extends keyof SubscriptionEvents<T>>(
    type: Type,
    listener: (value: SubscriptionEvents<T>[Type]) => unknown,
  ): () => void;
  /** Resolves when it is active; rejects when it is rejected, has ended, or the client has given up. */
  ready(): Promise<void>;
  /** Ends it. Nothing comes any more, and loops end. */
  unsubscribe(): void;
  [Symbol.asyncIterator](): AsyncIterator<TopicEvent<T> | Gap, undefined>;
}

/** Topics whose places a subscription remembers. Beyond it the one that was silent longest is forgotten. */
const PLACES_MAX = 1000;

/** More of the newest events than any topic keeps. */
const LAST_MAX = 1e9;

/** What waits for a loop: an item, and where it leaves a topic. */
type Entry = [item: TopicEvent<any> | Gap, key: string, place: string | undefined];

/** The name of what is for this user alone. No topic is called so, and like all inboxes no pattern covers it. */
export const INBOX = "user::events";

/** `failure` says why nothing comes any more, `CLOSED` among it; it is undefined while something may. */
export function createSubscription<T>(
  report: Report,
  failure: () => FanfareError | undefined,
  remove: (member: Member) => void,
  name: string,
  { since, last: wanted = 0, buffer = 1000, overflow }: SubscriptionOptions,
): Member & { subscription: Subscription<T> } {
  const { on, heard, emit } = createEmitter<SubscriptionEvents<T>>(report);
  // A whole number, whatever was given: the gateway refuses others, with all of their message.
  const last = Math.max(0, Math.min(wanted, LAST_MAX)) | 0;
  const covers = matcher(name);
  /** By topic, and the name's own: where the newest event stood, and the newest that a listener or a loop has got. */
  const received = new Map<string, string>();
  const delivered = new Map<string, string>();
  /** By topic: where what is about to come ends, a gap that was announced or what was missed. */
  const due = new Map<string, [end: string, isGap: unknown]>();
  /** Where a pattern itself stands once all of that has come. */
  let goal: string | undefined;
  const queue: Entry[] = [];
  /** How many made room in the queue, before all that is in it, and where they leave topics. NaN: nobody knows. */
  let dropped = 0;
  const passed = new Map<string, string>();
  /** What waits for an item or a state to look at. */
  const waiting: (() => void)[] = [];
  let isLooped: boolean | undefined;
  let state: SubscriptionState = "pending";
  let error: FanfareError | undefined;
  /** Whether it was active on an earlier connection, or goes on from a saved position. */
  let wasActive = !!since;

  function move(places: Map<string, string>, topic: string, place: string | undefined): void {
    if (!place) return;
    places.delete(topic);
    places.set(topic, place);
    if (places.size <= PLACES_MAX) return;
    // With a pattern's own place, what the forgotten topic has had would come again.
    places.delete(name);
    places.delete(places.keys().next().value!);
  }

  /** Where there is no event to wait for. */
  function set(topic: string, place: string): void {
    move(received, topic, place);
    if (!queue.length) move(delivered, topic, place);
  }

  /** Takes what comes next, which is delivered by that. */
  function shift(): Entry[0] | undefined {
    if (dropped !== 0) {
      const lost = dropped || null;
      dropped = 0;
      for (const [key, place] of passed) move(delivered, key, place);
      passed.clear();
      return { type: "gap", topic: name, lost, reason: "buffer" };
    }
    if (!queue.length) return;
    const [item, key, place] = queue.shift()!;
    move(delivered, key, place);
    // A pattern's own place comes with the confirmation, not with an event.
    if (!queue.length) move(delivered, name, received.get(name));
    return item;
  }

  /** Tells listeners. A gap that is not listened for is reported: it never passes in silence. */
  function tell(item: Entry[0]): void {
    const { type, topic } = item;
    emit(type, item as any);
    if (type === "gap" && !isLooped && !heard(type)) {
      report(new FanfareError("GAP", `No listener for a gap of ${topic}`));
    }
  }

  /** Gives listeners what waits, where there is no loop to take it. */
  function drain(): void {
    for (let item; !isLooped && heard("event") && (item = shift()); ) tell(item);
  }

  function push(...entry: Entry): void {
    // By a listener, in the middle of what a confirmation tells.
    if (state === "ended") return;
    queue.push(entry);
    if (isLooped) tell(entry[0]);
    drain();
    wake();
    if (queue.length <= Math.max(1, buffer)) return;
    if (overflow === "end") {
      return end(new FanfareError("BUFFER_FULL", `Too many events of ${name} wait`));
    }
    // The oldest goes, and is counted in a gap before those that wait.
    const [oldest, key, place] = queue.shift()!;
    move(passed, key, place);
    dropped += oldest.type === "gap" ? (oldest.lost ?? NaN) : 1;
  }

  function gap(topic: string, lost: number | null): boolean {
    const [end, isGap] = due.get(topic) ?? [];
    const place = isGap ? end : undefined;
    // What is for this user alone goes on wherever it is.
    if (name === INBOX) received.clear();
    else move(received, topic, place);
    push({ type: "gap", topic, lost, reason: "gateway" }, topic, place);
    if (isGap) settle(topic);
    return !!place;
  }

  /** What was about to come of a topic has come. */
  function settle(topic?: string): void {
    due.delete(topic!);
    if (!goal || due.size) return;
    goal = set(name, goal) as undefined;
  }

  const why = () =>
    /rejected|ended/.test(state) ? (error ?? new FanfareError("CLOSED", "Closed")) : failure();

  const changed = () => new Promise<void>((resolve) => waiting.push(resolve));

  function wake(): void {
    for (const resolve of waiting.splice(0)) resolve();
  }

  /** Changes the state, if it is another one. In any case all that waits looks again, after the caller's turn. */
  function change(to: SubscriptionState, because?: FanfareError): void {
    wake();
    if (to === "pending") goal = due.clear() as undefined;
    if (to === "active") wasActive = true;
    if (state === "ended" || (to === state && because === error)) return;
    state = to;
    error = because;
    emit("state", to);
  }

  function end(because?: FanfareError): void {
    if (state === "ended") return;
    remove(member);
    if (!because) queue.length = dropped = 0;
    change("ended", because);
  }

  function begin(topics: readonly (readonly [string, Confirmed])[]): void {
    const resumes = received.has(name);
    // Its own place was forgotten, or there never was one.
    if (wasActive && !resumes && state !== "active") gap(name, null);
    let own: string | undefined;
    for (const [topic, { epoch, offset, recovered, count = 0 }] of topics) {
      const isName = topic === name;
      // Another pattern's place is none of a topic.
      if (isPattern(topic) ? !isName : !covers(topic)) continue;
      const known = received.get(topic);
      // Throws where the offset is none.
      const before = (events: number | boolean) => `${epoch}-${BigInt(offset) - BigInt(events)}`;
      const live = before(0);
      // A gap follows, and until then the old place holds.
      const isGap = recovered === false && (known || resumes);
      if (!known && !isGap) set(topic, before(isName ? Math.min(last, count) : resumes && count));
      else if (isPattern(topic)) own = live;
      else if (known !== live && !isGap) {
        const isSame = recovered && sameEpoch(known!, live);
        // It may begin behind where this one is, at the newest events of another one.
        const lost = isSame ? +offset - count - +known!.split("-")[1]! : null;
        if (lost === null || lost > 0) {
          gap(topic, lost);
          set(topic, recovered ? before(count) : live);
        }
      }
      if (isGap || !(own === live || isPast(live, received.get(topic)))) due.set(topic, [live, isGap]);
    }
    goal = own ?? goal;
    settle();
    change("active");
  }

  if (since) for (const [topic, place] of placesOf(name, since)) if (isPlace(place)) set(topic, place);

  const subscription: Subscription<T> = {
    name,
    get state() {
      return state;
    },
    get error() {
      return error;
    },
    get position() {
      const own = delivered.get(name);
      return own && (isPattern(name) ? JSON.stringify(Object.fromEntries(delivered)) : own);
    },
    on(type, listener) {
      queueMicrotask(drain);
      return on(type, listener);
    },
    async ready() {
      for (; state !== "active"; await changed()) {
        const reason = why();
        if (reason) throw reason;
      }
    },
    unsubscribe: () => end(),
    [Symbol.asyncIterator]() {
      isLooped = true;
      return {
        async next() {
          for (; ; await changed()) {
            const value = shift();
            const reason = why();
            if (value || reason?.code === "CLOSED") return { done: !value, value } as IteratorResult<TopicEvent<T>>;
            if (reason) throw reason;
          }
        },
        async return() {
          end();
          return { done: true } as IteratorReturnResult<undefined>;
        },
      };
    },
  };

  const member = {
    subscription,
    name,
    last,
    places: received,
    covers,
    emit: emit as Member["emit"],
    change,
    begin,
    gap,
    place: set,
    take(event: TopicEvent<any>) {
      const { topic, position: place } = event;
      const key = name === INBOX ? name : topic;
      if (state !== "active" || isPast(place, received.get(key))) return;
      move(received, key, place);
      push(event, key, place);
      const [end = ""] = due.get(topic) ?? [];
      if (isPast(end, place)) settle(topic);
    },
  };
  return member;
}

/** The places of a saved position. Of what is no object, of the name. */
function placesOf(name: string, since: string): [topic: string, place: any][] {
  try {
    return Object.entries(JSON.parse(since));
  } catch {
    return [[name, since]];
  }
}
