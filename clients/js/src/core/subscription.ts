import { Emitter, type Report } from "./emitter.js";
import { FanfareError } from "./errors.js";
import { isInbox, isPattern, matcher } from "./pattern.js";
import { isPast, sameEpoch } from "./place.js";

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
   * first, or a gap if it is not kept.
   */
  since?: string | undefined;
  /** Without `since`: begin with so many of the topic's newest events, or as many as it keeps. Not for patterns. */
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

/** What a subscription needs of its client. */
export interface Hub {
  report: Report;
  remove(subscription: Subscription<any>): void;
  /** Why nothing comes any more; undefined while something may. */
  failure(): FanfareError | undefined;
  /** Whether the client is closed, and loops end. */
  isClosed(): boolean;
}

/** Topics whose places a subscription remembers. Beyond it the one that was silent longest is forgotten. */
const PLACES_MAX = 1000;

/** Places in a pattern's `position`; the gateway takes no more. */
const PLACES_SAVED_MAX = 50;

/**
 * The events of a topic, or of those that a pattern covers. Listeners get them as they come; a loop,
 * `for await (const event of subscription)`, gets them and gaps from a buffer, and leaving it unsubscribes. What comes
 * while there is neither waits in the buffer.
 */
export class Subscription<T = unknown>
  extends Emitter<SubscriptionEvents<T>>
  implements AsyncIterable<TopicEvent<T> | Gap>
{
  /** The topic or pattern. */
  readonly name: string;
  /** @internal Whether a topic's events are its. */
  readonly covers: (topic: string) => boolean;
  /** @internal How many of the newest events to begin with. */
  readonly last: number;
  /** @internal Whether it is that of what is for this user alone. */
  readonly isOwn: boolean;
  #state: SubscriptionState = "pending";
  #error: FanfareError | undefined;
  readonly #hub: Hub;
  readonly #buffer: number;
  readonly #overflow: string;
  /** By topic, and the name's own: where the newest event stood; the newest last. */
  #received = new Map<string, string>();
  /** The same of what listeners and loops have got. */
  #delivered = new Map<string, string>();
  /** By topic: where it goes on behind the gap that is about to come. */
  readonly #renewed = new Map<string, string>();
  readonly #queue: { item: TopicEvent<T> | Gap; key?: string; place?: string }[] = [];
  /** What made room in the queue, before all that is in it. */
  #dropped: Gap | undefined;
  /** Loops that wait for an item, and who waits for it to be active. */
  readonly #waiting: Deferred[] = [];
  readonly #unready: Deferred[] = [];
  #isLooped = false;
  /** Whether it was active on an earlier connection. */
  #wasActive = false;

  /** @internal */
  constructor(hub: Hub, name: string, options: SubscriptionOptions, isOwn = false) {
    super(hub.report);
    this.#hub = hub;
    this.name = name;
    this.isOwn = isOwn;
    this.covers = isOwn ? isInbox : matcher(name);
    this.last = options.last ?? 0;
    this.#buffer = Math.max(1, options.buffer ?? 1000);
    this.#overflow = options.overflow ?? "drop-oldest";
    const { since } = options;
    if (since) {
      for (const [topic, place] of placesOf(name, since)) this.#move(topic, place, this.#received, this.#delivered);
      this.#wasActive = true;
    }
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** Why it is rejected, or has ended by itself. */
  get error(): FanfareError | undefined {
    return this.#error;
  }

  /**
   * Behind the last event that a listener or a loop has got: what to give as `since` later, also after a page was
   * loaded anew. Undefined until the subscription is confirmed.
   */
  get position(): string | undefined {
    const places = this.#delivered;
    if (!isPattern(this.name)) return places.get(this.name);
    const own = places.get(this.name);
    const topics = [...places].filter(([topic]) => topic !== this.name).slice(1 - PLACES_SAVED_MAX);
    return own && JSON.stringify(Object.fromEntries([[this.name, own], ...topics]));
  }

  /** Resolves when it is active; rejects when it is rejected, has ended, or the client has given up. */
  async ready(): Promise<void> {
    const failure = this.#failure();
    if (failure) throw failure;
    if (this.#state !== "active") return new Promise((resolve, reject) => this.#unready.push({ resolve, reject }));
  }

  /** Calls `listener` with each `type` from now on. Gives what ends that. */
  override on<Type extends keyof SubscriptionEvents<T>>(
    type: Type,
    listener: (value: SubscriptionEvents<T>[Type]) => unknown,
  ): () => void {
    // What came before there was a listener.
    if (type === "event") queueMicrotask(() => this.#drain());
    return super.on(type, listener);
  }

  [Symbol.asyncIterator](): AsyncIterator<TopicEvent<T> | Gap, undefined> {
    this.#isLooped = true;
    return {
      next: async () => {
        const item = this.#take();
        if (item) return { done: false, value: item };
        if (this.#isDone()) return { done: true, value: undefined };
        const failure = this.#failure();
        if (failure) throw failure;
        return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
      },
      return: async () => {
        this.unsubscribe();
        return { done: true, value: undefined };
      },
    };
  }

  /** Ends it. Nothing comes any more, and loops end. */
  unsubscribe(): void {
    this.#end();
  }

  #end(error?: FanfareError): void {
    if (this.#state === "ended") return;
    this.#hub.remove(this);
    if (!error) this.#queue.length = 0;
    this.change("ended", error);
  }

  #failure(): FanfareError | undefined {
    if (this.#state === "rejected" || this.#state === "ended") {
      return this.#error ?? new FanfareError("UNSUBSCRIBED", `The subscription to ${this.name} was ended`);
    }
    return this.#hub.failure();
  }

  /** @internal */
  change(state: SubscriptionState, error?: FanfareError): void {
    if (state === "pending") this.#renewed.clear();
    if (state === "active") this.#wasActive = true;
    if (state === this.#state && error === this.#error) return;
    this.#state = state;
    this.#error = error;
    this.wake();
    this.emit("state", state);
  }

  /** @internal Ends the waiting for what will not come. */
  wake(): void {
    const failure = this.#failure();
    if (this.#state === "active") for (const { resolve } of this.#unready.splice(0)) resolve(undefined);
    if (!failure) return;
    for (const { reject } of this.#unready.splice(0)) reject(failure);
    for (const { resolve, reject } of this.#waiting.splice(0)) {
      if (this.#isDone()) resolve({ done: true, value: undefined });
      else reject(failure);
    }
  }

  /** Whether loops just end. */
  #isDone(): boolean {
    return this.#state === "ended" ? !this.#error : this.#hub.isClosed();
  }

  /** @internal The places to go on from, the newest last. */
  get places(): ReadonlyMap<string, string> {
    return this.#received;
  }

  /** @internal Goes on where another one of the same name is. */
  join(other: Subscription<any>): void {
    for (const [topic, place] of other.#received) this.#move(topic, place, this.#received, this.#delivered);
    this.change("active");
  }

  /** @internal What a confirmation says of topics. */
  begin(topics: readonly (readonly [topic: string, place: Confirmed])[]): void {
    const resumes = this.#received.has(this.name);
    const named = new Set<string>();
    for (const [topic, { epoch, offset, recovered, count = 0 }] of topics) {
      const isName = topic === this.name;
      if (!isName && !this.covers(topic)) continue;
      named.add(topic);
      const known = this.#received.get(topic);
      const live = `${epoch}-${BigInt(offset)}`;
      const start = `${epoch}-${BigInt(offset) - BigInt(count)}`;
      if (recovered === false) {
        // A gap follows. Until then the old place holds.
        if (known || resumes) this.#renewed.set(topic, live);
        else this.#set(topic, live);
      } else if (!known) this.#set(topic, (isName ? this.last : resumes) ? start : live);
      else if (recovered && isName && isPattern(topic)) this.#set(topic, live);
      else if (known === live || (recovered && sameEpoch(known, live))) continue;
      else {
        this.gap(topic, null);
        this.#set(topic, recovered ? start : live);
      }
    }
    // Its place was forgotten.
    if (this.#wasActive && !resumes && named.has(this.name)) this.gap(this.name, null);
    this.change("active");
  }

  /** @internal What is for this user alone begins with the connection. */
  beginOwn(): void {
    if (this.#wasActive && !this.#received.size) this.gap(this.name, null);
    this.change("active");
  }

  /** @internal */
  take(topic: string, place: string, event: TopicEvent<any>): void {
    const key = this.isOwn ? this.name : topic;
    const known = this.#received.get(key);
    if (known && isPast(place, known)) return;
    this.#move(key, place, this.#received);
    this.#push({ item: event, key, place });
  }

  /** @internal Where a stream of events stands that has had no event yet. */
  place(topic: string, place: string): void {
    this.#set(topic, place);
  }

  /** @internal */
  gap(topic: string, lost: number | null): void {
    const place = this.#renewed.get(topic);
    this.#renewed.delete(topic);
    // What is for this user alone goes on wherever it is.
    if (this.isOwn) this.#received.clear();
    else if (place) this.#move(topic, place, this.#received);
    const item: Gap = { type: "gap", topic, lost, reason: "gateway" };
    this.#push(place ? { item, key: topic, place } : { item });
  }

  /** Where there is no event to wait for. */
  #set(topic: string, place: string): void {
    this.#move(topic, place, this.#received);
    if (!this.#queue.length) this.#move(topic, place, this.#delivered);
  }

  #move(topic: string, place: string, ...all: Map<string, string>[]): void {
    for (const places of all) {
      // A pattern's own place stays where it is: it is not one of those that are forgotten first.
      if (topic !== this.name) places.delete(topic);
      places.set(topic, place);
      if (places.size <= PLACES_MAX) continue;
      const oldest = [...places.keys()].find((topic) => topic !== this.name)!;
      places.delete(oldest);
      // With it, what that topic has had already would come again.
      places.delete(this.name);
    }
  }

  #push(entry: { item: TopicEvent<T> | Gap; key?: string; place?: string }): void {
    const { item } = entry;
    if (!this.#isLooped && this.heard("event")) {
      this.#settle(entry);
      return this.#tell(item);
    }
    if (this.#isLooped) this.#tell(item);
    const waiting = this.#waiting.shift();
    if (waiting) {
      this.#settle(entry);
      return waiting.resolve({ done: false, value: item });
    }
    this.#queue.push(entry);
    if (this.#queue.length > this.#buffer) this.#makeRoom();
  }

  /** Tells listeners. A gap that is not listened for is reported: it never passes in silence. */
  #tell(item: TopicEvent<T> | Gap): void {
    if (item.type === "event") return this.emit("event", item);
    this.emit("gap", item);
    if (this.#isLooped || this.heard("gap")) return;
    const message = `Events of ${item.topic} are missing: listen for "gap" and load its state anew`;
    this.#hub.report(new FanfareError("GAP", message));
  }

  /** The oldest event goes, and is counted in a gap before those that wait. */
  #makeRoom(): void {
    if (this.#overflow === "end") {
      const message = `More than ${this.#buffer} events wait: the loop over ${this.name} is too slow`;
      return this.#end(new FanfareError("BUFFER_FULL", message));
    }
    const oldest = this.#queue.shift()!;
    this.#settle(oldest);
    const { topic, lost } = oldest.item.type === "gap" ? oldest.item : { topic: oldest.item.topic, lost: 1 };
    const before = this.#dropped ?? { topic, lost: 0 };
    this.#dropped = {
      type: "gap",
      topic: before.topic === topic ? topic : this.name,
      lost: before.lost === null || lost === null ? null : before.lost + lost,
      reason: "buffer",
    };
  }

  #take(): TopicEvent<T> | Gap | undefined {
    const dropped = this.#dropped;
    this.#dropped = undefined;
    if (dropped) return dropped;
    const entry = this.#queue.shift();
    if (entry) this.#settle(entry);
    return entry?.item;
  }

  #drain(): void {
    for (let item; !this.#isLooped && this.heard("event") && (item = this.#take()); ) this.#tell(item);
  }

  /** Notes that an entry has been delivered. */
  #settle({ key, place }: { key?: string; place?: string }): void {
    if (key !== undefined && place !== undefined) this.#move(key, place, this.#delivered);
    // A pattern's own place comes with the confirmation, not with an event.
    const own = this.#queue.length ? undefined : this.#received.get(this.name);
    if (own) this.#move(this.name, own, this.#delivered);
  }
}

interface Deferred {
  resolve(value: any): void;
  reject(error: unknown): void;
}

/** The places of a saved position. What is none of a pattern is its own, which the gateway answers with a gap. */
function placesOf(name: string, since: string): [string, string][] {
  if (since.startsWith("{")) {
    try {
      const places = Object.entries(JSON.parse(since));
      return places.filter((entry): entry is [string, string] => typeof entry[1] === "string");
    } catch {
      // As any other text that is no position.
    }
  }
  return [[name, since]];
}
