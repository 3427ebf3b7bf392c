import type { Report } from "./emitter.js";
import { FanfareError } from "./errors.js";
import type { Frame } from "./link.js";
import { isInbox, isPattern, matcher } from "./pattern.js";
import { earlier, isPlace, parse } from "./place.js";
import { INBOX, type Member, type SubscriptionOptions, createSubscription } from "./subscription.js";

/**
 * How many more than the newest events are asked for where the topic flows already: what is published before the gateway
 * has begun it anew.
 */
const LAST_MARGIN = 100;

/** Names in one message, so that it is not too large with their places. */
const NAMES_MAX = 200;

/** Places in one message, unless there are more names or the gateway names another limit. */
const RECOVER_MAX = 50;

/**
 * The client's subscriptions, and what of them the connection has. `failure` says why nothing comes any more; `ask` asks
 * on this connection, with a message that is made when it is sent; `opened` is told of each confirmation: the connection
 * is good.
 */
export function createTopics(
  report: Report,
  failure: () => FanfareError | undefined,
  ask: (encode: () => string, done: (answer: Frame) => void, fail: (error: any) => unknown) => void,
  isOpen: () => boolean,
  opened: () => void,
) {
  const members = new Set<Member>();
  /**
   * Names that this connection was asked for, with the request for each (null until it has answered that it is to
   * end one: what is about one name goes one after the other), and those that it has confirmed.
   */
  const asked = new Map<string, unknown>();
  const confirmed = new Set<string>();
  /** Those that are to begin with their newest events, since what others of their name missed is less than they want. */
  const short = new Set<string>();
  /** Of the connection. */
  let isSse: boolean | undefined;
  let hasUser: boolean | undefined;
  /** Places in one message: the gateway's `events.max_subscriptions`, once it has named that. */
  let recover_max: number | undefined;

  const called = (name: string) => [...members].filter((member) => member.name === name);

  function create<T>(name: string, options: SubscriptionOptions = {}) {
    const member = createSubscription<T>(report, failure, remove, name, options);
    members.add(member);
    // A topic that flows already begins at another place only if it begins anew.
    if (options.since || options.last) forget(name);
    syncSoon();
    return member.subscription;
  }

  function remove(member: Member): void {
    members.delete(member);
    if (!called(member.name).length) forget(member.name);
  }

  /** Ends a name on this connection. */
  function forget(name: string): void {
    confirmed.delete(name);
    if (!asked.get(name)) return;
    asked.set(name, null);
    const left = () => {
      asked.delete(name);
      syncSoon();
    };
    ask(() => JSON.stringify({ type: "unsubscribe", events: [name] }), left, left);
  }

  /** All that is called for in one turn goes in one message: the first call sends it, and others find nothing. */
  const syncSoon = () => queueMicrotask(() => isOpen() && sync());

  /** Has the connection subscribe to what it was not asked for yet. The first message of a connection is its test. */
  function sync(): void {
    const names: string[] = [];
    let recover: Frame = {};
    let refusal: FanfareError | undefined;
    // Not those that were given up meanwhile, nor those that another request is to begin anew.
    const own = () => names.filter((name) => asked.get(name) === encode);
    const encode = () => {
      const events = own();
      recover = recoverOf(events);
      return JSON.stringify({ type: events.length ? "subscribe" : "ping", events, recover });
    };
    // Patterns last: what flows through one cannot go on from a place any more.
    for (const member of [...members].sort((a, b) => +isPattern(a.name) - +isPattern(b.name))) {
      const { name, subscription } = member;
      if (subscription.state === "rejected") continue;
      // It keeps its place: those that came later wait.
      if (asked.get(name) === null) break;
      if (name !== INBOX && !asked.has(name) && names.length < NAMES_MAX) {
        asked.set(name, encode);
        names.push(name);
      }
      if (subscription.state !== "pending") continue;
      const active = confirmed.has(name) && !short.has(name) && called(name).find((one) => one.subscription.state === "active");
      if (active) {
        // It goes on where the other one is.
        for (const [topic, place] of active.places) member.place(topic, place);
        member.change("active");
      } else if (confirmed.has(name)) forget(name);
      else if (name === INBOX && hasUser) member.begin([]);
    }
    if (!names.length && isOpen()) return;
    const done = (answer: Frame) => {
      confirm(own(), recover, answer, refusal);
      opened();
      syncSoon();
    };
    const fail = (error: FanfareError) => {
      const limit: any = error.details["limit"];
      if (error.code === "SUBSCRIPTION_LIMIT" && limit < Object.keys(recover).length) {
        recover_max = limit;
        return ask(encode, done, fail);
      }
      refusal = error;
      // What is about some of the names comes before or after a confirmation of the others.
      return (names.length && error.code !== "INVALID_MESSAGE") || done({ events: [] });
    };
    ask(encode, done, fail);
  }

  function confirm(names: string[], recover: Frame, { events, topics = {} }: Frame, refusal?: FanfareError): void {
    for (const name of names) {
      short.delete(name);
      if (events.includes(name)) confirmed.add(name);
      else {
        // It is asked for again when it is called for again, and on the next connection.
        asked.delete(name);
        const error = refusal ?? new FanfareError("REJECTED", `${name} is refused`, "token");
        for (const member of called(name)) member.change("rejected", error);
      }
    }
    for (const member of [...members]) {
      const { name, last, places } = member;
      if (!confirmed.has(name)) continue;
      // Over SSE there is no more to ask for.
      const isNew = recover[name]?.epoch && !(isSse || isPattern(name) || places.has(name));
      if (isNew && last > (topics[name]?.count ?? 0)) short.add(name);
      else member.begin(Object.entries<any>(topics));
    }
  }

  /** The places to go on from, by topic, so that each subscription misses the least. */
  function placesOf(names: string[]): Map<string, string> {
    const places = new Map<string, string>();
    for (const { name, places: own, gap } of names.flatMap(called)) {
      for (const [topic, place] of own) {
        // What has a subscription of its own goes on by that, if it says where.
        if (topic !== name && called(topic).some((one) => one.last || one.places.has(topic))) continue;
        const known = places.get(topic) ?? place;
        const from = earlier(known, place);
        if (!from) gap(topic, null);
        places.set(topic, from ?? known);
      }
    }
    return places;
  }

  /** What to recover: as many topics as the gateway takes. */
  function recoverOf(names: string[]): Frame {
    const places = placesOf(names);
    const topics = new Set([...names, ...[...places.keys()].reverse()]);
    const entries = [...topics].map((topic): [string, unknown] => {
      const place = places.get(topic);
      const last = Math.max(0, ...called(topic).map((member) => (member.places.has(topic) ? 0 : member.last)));
      // What others are missing comes first.
      if (last && !isPattern(topic) && (!place || short.has(topic))) return [topic, { last: place ? last + LAST_MARGIN : last }];
      const [epoch, offset] = parse(place) ?? [];
      // A stream's place says nothing on a WebSocket: a gap is told.
      return [topic, epoch ? { epoch, offset } : isSse && place && { cursor: place.slice(4) }];
    });
    // It takes as many as subscriptions, and fifty usually.
    const max = recover_max ?? Math.max(RECOVER_MAX, names.length);
    return Object.fromEntries(entries.filter(([, from]) => from).slice(0, max));
  }

  /** Takes a frame about a topic, if it is one that a subscription is for. */
  function take(frame: Frame): boolean {
    const { type, event: name, topic = name, data, event_id: position, publisher, timestamp, lost = null } = frame;
    if (typeof topic !== "string" || (type === "event" && !position)) return false;
    const takers = [...members].filter((member) => member.covers(topic) || (member.name === INBOX && isInbox(topic)));
    let isAnnounced;
    for (const member of takers) {
      if (type === "event") {
        if (!isPlace(position)) throw position;
        member.take({ type, topic, name, data, position, publisher, timestamp });
      } else if (type === "gap") isAnnounced = member.gap(topic, lost) || isAnnounced;
      else if (type === "place") member.place(topic, frame["place"]);
      else if (type === "presence") member.emit("presence", { ...data, topic, seq: frame["presence_seq"] });
      else return false;
    }
    if (type !== "gap") return takers.length > 0;
    // Of a pattern that flows: what it covers comes through it, and may be missing something.
    if (isPattern(topic) && !isAnnounced) {
      const covers = matcher(topic);
      for (const member of [...members]) if (member.name !== topic && covers(member.name)) member.gap(member.name, null);
    }
    return true;
  }

  return {
    add: create,
    placesOf,
    take,
    /** The connection is there. */
    greeted(overSse: boolean | undefined, user: unknown): void {
      isSse = overSse;
      hasUser = user != null;
      sync();
    },
    lost(): void {
      asked.clear();
      confirmed.clear();
      short.clear();
      for (const member of members) member.change("pending");
    },
  };
}
