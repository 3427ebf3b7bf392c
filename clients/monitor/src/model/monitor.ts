import type { Frame, Gap, Subscription } from "fanfare-client";
import { type ConnectionState, type ManagerStatus, WebSocketManager } from "../manager";
import { AgentsStore } from "./agents";
import { BeliefsStore } from "./beliefs";
import { EventsStore } from "./events";
import { FrameStore } from "./frame-store";
import { type Gateway, findGateway } from "./gateway";
import { MetricsStore } from "./metrics";
import type { Reason } from "./refusal";
import { Seconds } from "./seconds";
import { saveToken, savedToken, takeTokenOfAddress } from "./token";
import { fieldsOf } from "./value";

/** Of a second, the state in it that was furthest from open; UNSEEN where the page was not at work and it may have been open. */
export type Second = ConnectionState | "UNSEEN";

const FROM_OPEN: readonly ConnectionState[] = ["OPEN", "CONNECTING", "CLOSED"];

export interface MonitorSnapshot {
  /** Undefined until it is known. */
  readonly gateway: Gateway | undefined;
  readonly status: ManagerStatus | undefined;
  /** Why the gateway cannot be asked who it is. */
  readonly searchError: string | undefined;
  readonly session: { readonly clientId: string | null; readonly user: string | null; readonly role: string | null } | undefined;
  readonly hasToken: boolean;
  /** Topics and patterns that the list of events shows. */
  readonly topics: readonly string[];
  /** Of all subscriptions, those that the gateway refuses, and why. */
  readonly refused: readonly (readonly [name: string, reason: Reason | undefined])[];
  /** The connection's state in each of the last {@link HISTORY_SECONDS} seconds, or of those since the page was opened; the newest last. */
  readonly history: readonly Second[];
  /** Milliseconds since 1970, as of the last second. */
  readonly now: number;
}

export const HISTORY_SECONDS = 300;
/** How long until a gateway that cannot be reached is asked again. */
const SEARCH_MS = 2000;
const TOPICS_MAX = 40;

/** Everything that the page shows of one gateway. */
export class Monitor extends FrameStore<MonitorSnapshot> {
  readonly metrics = new MetricsStore();
  readonly agents = new AgentsStore();
  readonly beliefs = new BeliefsStore();
  readonly events = new EventsStore();
  #gateway: Gateway | undefined;
  #manager: WebSocketManager | undefined;
  #searchError: string | undefined;
  #topics: readonly string[] = ["*"];
  readonly #panels: Subscription<any>[] = [];
  #raw: Subscription<any>[] = [];
  /** The limit that subscriptions were refused for without saying so: the gateway may say it behind its answer. */
  #limit: Reason | undefined;
  #newest = { topic: "", position: "" };
  /** Topics whose gap was shown just now. */
  readonly #gaps = new Set<string>();
  readonly #seconds = new Seconds();
  #state: ConnectionState = "CONNECTING";
  /** The state in the second that is on that was furthest from open. */
  #worst: ConnectionState = this.#state;
  #history: readonly Second[] = [];
  #now = Date.now();

  /** Finds the gateway and connects; gives what ends it all. */
  start(page: URL): () => void {
    let isEnded = false;
    let search: ReturnType<typeof setTimeout> | undefined;
    const find = async () => {
      try {
        const gateway = await findGateway(page);
        if (!isEnded) this.#connect(gateway);
      } catch (error) {
        if (isEnded) return;
        this.#searchError = error instanceof Error ? error.message : String(error);
        search = setTimeout(find, SEARCH_MS);
      }
      this.changed();
    };
    void find();
    const tick = setInterval(() => this.#pass(), 1000);
    const see = () => {
      this.#pass();
      if (!document.hidden) void this.#manager?.measure();
    };
    document.addEventListener("visibilitychange", see);
    // An address of which the fragment alone is new loads no page.
    const takeToken = () => {
      const token = takeTokenOfAddress();
      if (token) this.useToken(token);
    };
    addEventListener("hashchange", takeToken);
    return () => {
      isEnded = true;
      clearTimeout(search);
      clearInterval(tick);
      document.removeEventListener("visibilitychange", see);
      removeEventListener("hashchange", takeToken);
      this.#manager?.dispose();
    };
  }

  #connect(gateway: Gateway): void {
    this.#gateway = gateway;
    this.#searchError = undefined;
    const manager = (this.#manager = new WebSocketManager({ url: gateway.endpoint, token: tokenFor(gateway) }));
    const { client } = manager;
    let wasOpen = false;
    manager.onChange(() => {
      this.#pass();
      this.#turn(manager.state);
      const isNew = manager.state === "OPEN" && !wasOpen;
      // Asking changes the status itself.
      wasOpen = manager.state === "OPEN";
      if (!wasOpen) this.#limit = undefined;
      if (isNew) void this.#askMetrics();
      this.changed();
    });
    client.on("message", (frame) => this.#other(frame));
    client.on("error", (error) => this.#report(error));
    this.#turn(manager.state);
    this.#follow("system.metrics", ({ data, timestamp }) => this.metrics.take(fieldsOf(data), timestamp));
    this.#follow("agent.*", (event) => this.agents.take(event));
    this.#follow("belief.*", (event) => this.beliefs.take(event));
    this.setTopics(this.#topics);
  }

  /** A panel's subscription. Its gaps are shown in the list of events. */
  #follow(name: string, take: (event: any) => void): void {
    const subscription = this.#manager!.subscribe(name);
    subscription.on("event", (event) => {
      this.#pass();
      take(event);
    });
    subscription.on("gap", (gap) => this.#gap(gap));
    subscription.on("state", () => this.changed());
    this.#panels.push(subscription);
  }

  /**
   * Shows other topics in the list of events, at most 40. Those that stay are not interrupted, but for those that were
   * refused: they are asked for again, as there may be room for them now.
   */
  setTopics(topics: readonly string[]): void {
    this.#topics = [...new Set(topics)].slice(0, TOPICS_MAX);
    if (this.#manager) {
      this.#limit = undefined;
      const stays = ({ name, state }: Subscription<any>) => state !== "rejected" && this.#topics.includes(name);
      const kept = new Map(this.#raw.filter(stays).map((subscription) => [subscription.name, subscription]));
      for (const subscription of this.#raw) if (!kept.has(subscription.name)) subscription.unsubscribe();
      this.#raw = this.#topics.map((name) => kept.get(name) ?? this.#followRaw(name));
    }
    this.changed();
  }

  #followRaw(name: string): Subscription<any> {
    const subscription = this.#manager!.subscribe(name);
    subscription.on("event", ({ topic, name, data, position, publisher }) => {
      // It comes to each subscription that covers it, one after the other.
      if (topic === this.#newest.topic && position === this.#newest.position) return;
      this.#newest = { topic, position };
      this.#add({ kind: "event", name, data, position, publisher });
    });
    subscription.on("gap", (gap) => this.#gap(gap));
    subscription.on("state", () => this.changed());
    return subscription;
  }

  async #askMetrics(): Promise<void> {
    try {
      const { result, timestamp } = await this.#manager!.send({ type: "query", params: { query: "metrics" } });
      this.metrics.take(fieldsOf(result), timestamp);
    } catch {
      // The next event has it.
    }
  }

  #add(line: Parameters<EventsStore["add"]>[0]): void {
    this.#pass();
    this.events.add(line);
  }

  /** Shows a gap once, however many subscriptions it comes to. */
  #gap({ topic, lost }: Gap): void {
    if (this.#gaps.has(topic)) return;
    this.#gaps.add(topic);
    queueMicrotask(() => this.#gaps.delete(topic));
    this.#add({ kind: "gap", name: topic, data: { lost } });
  }

  #other({ type, event, data, code, message }: Frame): void {
    if (type === "connection_established") return;
    if (type === "broadcast") this.#add({ kind: "broadcast", name: event ?? "broadcast", data });
    else if (type === "error") {
      const reason = { code: String(code), message: String(message) };
      this.#add({ kind: "error", name: reason.code, data: reason.message });
      if (/^(SUBSCRIPTION|TOPIC)_LIMIT$/.test(reason.code)) this.#limit = reason;
      this.changed();
    } else this.#add({ kind: "message", name: String(type), data });
  }

  #report(error: unknown): void {
    const { code = "ERROR", message = String(error) } = fieldsOf(error) as { code?: string; message?: string };
    this.#add({ kind: "error", name: code, data: error instanceof Error ? error.message : message });
  }

  /** Takes the seconds that have ended. To be called at everything that comes, before it is taken. */
  #pass(): void {
    const { ended, isSeen } = this.#seconds.pass();
    if (!ended) return;
    // A page that is not at work opens no connection, and does not learn that one is lost.
    const after = isSeen || this.#state === "CLOSED" ? this.#state : "UNSEEN";
    const seconds = new Array<Second>(Math.min(ended, HISTORY_SECONDS)).fill(after);
    if (isSeen) seconds[0] = this.#worst;
    this.#worst = this.#state;
    this.#history = [...this.#history, ...seconds].slice(-HISTORY_SECONDS);
    this.#now = Date.now();
    this.events.end(seconds.map((second) => second === "OPEN"));
    this.metrics.pass(this.#state === "OPEN");
    this.changed();
  }

  #turn(state: ConnectionState): void {
    if (state !== this.#state) this.metrics.pass(state === "OPEN");
    this.#state = state;
    if (FROM_OPEN.indexOf(state) > FROM_OPEN.indexOf(this.#worst)) this.#worst = state;
  }

  // What the operator does.

  reconnect(): void {
    this.#manager?.reconnect();
  }

  disconnect(): void {
    this.#manager?.disconnect();
  }

  /** Goes on with another token, or with none. In demo mode it is only kept. */
  useToken(token: string | undefined): void {
    saveToken(token);
    if (this.#gateway?.mode !== "demo") void this.#manager?.client.authenticate(token ?? null);
    this.changed();
  }

  /** Sends a command to an agent and gives what the gateway says; rejects with its error. */
  async command(agent: string, command: string): Promise<string> {
    if (!this.#manager) throw new Error("The gateway cannot be reached");
    const answer = await this.#manager.send({ type: "agent_command", data: { command, agent_id: agent } });
    return String(answer["status"]);
  }

  /** Publishes as any client does; rejects with the gateway's error. */
  async publish(topic: string, data: unknown): Promise<void> {
    if (!this.#manager) throw new Error("The gateway cannot be reached");
    await this.#manager.client.publish(topic, data);
  }

  protected make(): MonitorSnapshot {
    const session = this.#manager?.client.session;
    const refused = [...this.#panels, ...this.#raw].filter(({ state }) => state === "rejected");
    return {
      gateway: this.#gateway,
      status: this.#manager?.status,
      searchError: this.#searchError,
      session: session && { clientId: session.client_id, user: session.user, role: session.role },
      hasToken: savedToken() !== undefined,
      topics: this.#topics,
      refused: refused.map(({ name, error }) => [name, (error?.code === "REJECTED" && this.#limit) || error] as const),
      history: this.#history,
      now: this.#now,
    };
  }
}

const tokenFor = ({ mode }: Gateway): string | undefined => (mode === "demo" ? undefined : savedToken());
