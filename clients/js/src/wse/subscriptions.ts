import type { ServerDetails } from "./connection-manager.js";
import { TOPICS_PER_REQUEST } from "./constants.js";
import { Recovery } from "./recovery.js";
import type { EventSequencer } from "./sequencer.js";
import type { Gap, SubscriptionInfo, TopicRecoveryPosition } from "./types.js";

/** What the server did not take, as its buffer was full, is said again after so many milliseconds. */
const RETRY = 100;

export interface SubscriptionsEvents {
  /** Sends a `subscription_update`; false where it cannot be sent now. */
  send(payload: object): boolean;
  onChange(info: SubscriptionInfo): void;
  onGap: (gap: Gap) => void;
}

/** The topics that are wanted, made what the server knows, with each one's place. */
export class Subscriptions {
  readonly recovery: Recovery;
  /** Who wants which topics. */
  readonly #owners = new Map<unknown, Set<string>>();
  /** Topics that this connection has asked for. */
  readonly #sent = new Set<string>();
  readonly #pending = new Set<string>();
  readonly #failed = new Set<string>();
  #connected = false;
  #syncing = false;

  constructor(
    private readonly sequencer: EventSequencer,
    private readonly events: SubscriptionsEvents,
  ) {
    this.recovery = new Recovery(sequencer, {
      request: (positions) => this.#ask(Object.keys(positions), positions),
      onGap: events.onGap,
    });
  }

  /** All topics that somebody wants. */
  get topics(): Set<string> {
    return new Set([...this.#owners.values()].flatMap((topics) => [...topics]));
  }

  subscribe(topics: readonly string[], owner: unknown): void {
    const wanted = this.#owners.get(owner) ?? new Set();
    this.#owners.set(owner, wanted);
    for (const topic of topics) wanted.add(topic);
    this.#changed();
  }

  unsubscribe(topics: readonly string[], owner: unknown): void {
    const wanted = this.#owners.get(owner);
    for (const topic of topics) wanted?.delete(topic);
    if (wanted?.size === 0) this.#owners.delete(owner);
    this.#changed();
  }

  /** A connection is there, and knows of nothing. */
  connected({ features, user_id }: ServerDetails): void {
    this.#connected = true;
    this.recovery.available = features["recovery"] === true;
    this.#sent.clear();
    this.#failed.clear();
    this.#sync();
    if (!this.recovery.available) return;
    // What is read by a glob, or as the inbox, is asked for by its own name: the server does not know where this client was.
    const wanted = this.topics;
    const globs = [...wanted].map(globPattern);
    const isRead = (topic: string) => topic === `user:${user_id}:events` || globs.some((glob) => glob.test(topic));
    const known = Object.keys(this.sequencer.getPositions()).filter((topic) => !wanted.has(topic) && isRead(topic));
    inParts(known, (part) => this.#ask(part));
  }

  disconnected(): void {
    this.#connected = false;
    this.recovery.disconnected();
  }

  /** The server's answer, a `subscription_update`. */
  answered(p: Record<string, any>): void {
    const { recovery, action } = p;
    for (const topic of strings(p["success_topics"])) {
      this.#pending.delete(topic);
      this.#failed.delete(topic);
      // A server that does not know recovery confirms, and says no more.
      if (recovery === undefined && action !== "unsubscribe") this.recovery.answered(topic);
    }
    for (const topic of strings(p["failed_topics"])) {
      this.#pending.delete(topic);
      if (this.#sent.has(topic)) this.#failed.add(topic);
    }
    for (const [topic, place] of Object.entries((recovery ?? {}) as Record<string, any>)) {
      const { epoch, offset, recovered } = place ?? {};
      const known = epoch != null && Number.isSafeInteger(offset);
      const at = known ? { epoch: String(epoch), offset, recovered: recovered === true } : undefined;
      this.recovery.answered(topic, at, action === "recover");
    }
    this.#show();
  }

  #changed(): void {
    this.#show();
    // Once for all that happens now: what is wanted no more and then again is never told.
    if (this.#syncing) return;
    this.#syncing = true;
    queueMicrotask(() => {
      this.#syncing = false;
      this.#sync();
    });
  }

  /** Makes what the server knows what is wanted. */
  #sync(): void {
    if (!this.#connected) return;
    const wanted = this.topics;
    const removed = [...this.#sent].filter((topic) => !wanted.has(topic));
    const added = [...wanted].filter((topic) => !this.#sent.has(topic));
    const isSent =
      inParts(removed, (topics) => {
        if (!this.events.send({ action: "unsubscribe", topics })) return false;
        for (const topic of topics) {
          this.#sent.delete(topic);
          this.#pending.delete(topic);
          this.recovery.forget(topic);
        }
        return true;
      }) &&
      inParts(added, (topics) => {
        if (!this.#ask(topics)) return false;
        for (const topic of topics) {
          this.#sent.add(topic);
          this.#pending.add(topic);
        }
        return true;
      });
    if (!isSent) setTimeout(() => this.#sync(), RETRY);
    this.#show();
  }

  /** Subscribes, from the topics' places where there are. */
  #ask(topics: readonly string[], recovery: Record<string, TopicRecoveryPosition> = {}): boolean {
    for (const topic of this.recovery.available ? topics : []) {
      const position = this.sequencer.getTopicPosition(topic);
      if (position) recovery[topic] = position;
    }
    const known = Object.keys(recovery);
    const sent = this.events.send({ action: "subscribe", topics, ...(known.length > 0 && { recover: true, recovery }) });
    if (sent) this.recovery.expect(known);
    return sent;
  }

  #show(): void {
    const wanted = this.topics;
    const still = (of: Set<string>) => [...of].filter((topic) => wanted.has(topic));
    this.events.onChange({
      topics: [...wanted],
      pendingSubscriptions: still(this.#pending),
      failedSubscriptions: still(this.#failed),
      lastUpdate: Date.now(),
      recoveryState: this.sequencer.getPositions(),
      serverRecoveryEnabled: this.recovery.available,
    });
  }
}

/** Topics of an answer: texts, or objects with one, as some servers have them. */
function strings(value: unknown): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  return list.map((item) => (item as { topic?: unknown } | null)?.topic ?? item).filter((item) => typeof item === "string");
}

/** Does something with up to 100 topics at a time; false as soon as it is refused. */
function inParts(topics: readonly string[], work: (part: string[]) => boolean): boolean {
  for (let at = 0; at < topics.length; at += TOPICS_PER_REQUEST) {
    if (!work(topics.slice(at, at + TOPICS_PER_REQUEST))) return false;
  }
  return true;
}

/** `*` is any run of characters, `?` one. */
const globPattern = (glob: string): RegExp =>
  new RegExp(`^${glob.replace(/[\\^$.+()[\]{}|/]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".")}$`, "su");
