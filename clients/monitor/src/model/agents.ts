import type { TopicEvent } from "fanfare-client";
import { FrameStore } from "./frame-store";
import { agentIdOf, fieldsOf, textOf } from "./value";

export interface Agent {
  readonly id: string;
  readonly name: string | undefined;
  readonly kind: string | undefined;
  readonly status: string | undefined;
  /** The newest event's name. */
  readonly event: string;
  readonly events: number;
  /** When the newest event came, in milliseconds since 1970. */
  readonly time: number;
}

export interface AgentsSnapshot {
  /** In the order of their ids. */
  readonly agents: readonly Agent[];
  readonly events: number;
  /** Events that name no agent. */
  readonly unnamed: number;
}

/** Agents that are kept. Beyond it, the one that was silent longest is forgotten. */
export const AGENTS_MAX = 200;

const byId = new Intl.Collator("en", { numeric: true }).compare;

export class AgentsStore extends FrameStore<AgentsSnapshot> {
  /** The one with the newest event last. */
  readonly #agents = new Map<string, Agent>();
  #events = 0;
  #unnamed = 0;

  take({ topic, data }: TopicEvent): void {
    this.#events += 1;
    const id = agentIdOf(data);
    if (id === undefined) this.#unnamed += 1;
    else {
      const fields = { ...fieldsOf(data), ...fieldsOf(fieldsOf(data)["agent"]) };
      const known = this.#agents.get(id);
      this.#agents.delete(id);
      this.#agents.set(id, {
        id,
        name: textOf(fields, "name") ?? known?.name,
        kind: textOf(fields, "type", "agent_type", "kind") ?? known?.kind,
        status: textOf(fields, "status", "state") ?? (statusBy(topic) || known?.status),
        event: topic,
        events: (known?.events ?? 0) + 1,
        time: Date.now(),
      });
      if (this.#agents.size > AGENTS_MAX) this.#agents.delete(this.#agents.keys().next().value!);
    }
    this.changed();
  }

  protected make(): AgentsSnapshot {
    const agents = [...this.#agents.values()].sort((a, b) => byId(a.id, b.id));
    return { agents, events: this.#events, unnamed: this.#unnamed };
  }
}

/** What the event's name says of the agent where its data does not. */
const statusBy = (topic: string): string | undefined =>
  /[.:](created|started|stopped|deleted|failed|paused|resumed)$/.exec(topic)?.[1];
