import type { TopicEvent } from "fanfare-client";
import { FrameStore } from "./frame-store";
import { agentIdOf, cut, fieldsOf, isNumber, textOf } from "./value";

/** What an agent holds likely of one thing. */
export interface Belief {
  /** The topic, the agent and the factor. */
  readonly key: string;
  readonly topic: string;
  readonly agent: string | undefined;
  /** Which of several distributions of one event it is. */
  readonly factor: string | undefined;
  /** States and their values, the likeliest first. */
  readonly states: readonly (readonly [name: string, value: number])[];
  /** Whether the values add up to 1. */
  readonly isDistribution: boolean;
  /** How certain it is: 0 where all states are as likely, 1 where one is certain. Of distributions alone; newest last. */
  readonly certainties: readonly number[];
  readonly time: number;
}

export interface BeliefsSnapshot {
  /** In the order in which they came first. */
  readonly beliefs: readonly Belief[];
  readonly events: number;
  /** Events in which there are no values to show. */
  readonly unread: number;
}

/** Beliefs that are kept; beyond it the one that was silent longest is forgotten. */
export const BELIEFS_MAX = 60;
export const CERTAINTIES_MAX = 60;
/** States of one belief that are read. */
const STATES_MAX = 256;
const FACTORS_MAX = 8;

type States = [name: string, value: number][];

export class BeliefsStore extends FrameStore<BeliefsSnapshot> {
  readonly #beliefs = new Map<string, Belief & { order: number }>();
  #events = 0;
  #unread = 0;
  #order = 0;

  take({ topic, data }: TopicEvent): void {
    this.#events += 1;
    const agent = agentIdOf(data);
    const factors = factorsOf(data);
    if (!factors.length) this.#unread += 1;
    for (const [factor, states] of factors) {
      const key = JSON.stringify([topic, agent, factor]);
      const known = this.#beliefs.get(key);
      this.#beliefs.delete(key);
      const isDistribution = states.length > 1 && states.every(([, p]) => p >= 0) && Math.abs(sum(states) - 1) < 0.01;
      const certainties = known?.certainties ?? [];
      this.#beliefs.set(key, {
        key,
        topic,
        agent,
        factor,
        states: states.sort(([, a], [, b]) => b - a),
        isDistribution,
        certainties: isDistribution ? [...certainties, certainty(states)].slice(-CERTAINTIES_MAX) : certainties,
        time: Date.now(),
        order: known?.order ?? this.#order++,
      });
      if (this.#beliefs.size > BELIEFS_MAX) this.#beliefs.delete(this.#beliefs.keys().next().value!);
    }
    this.changed();
  }

  protected make(): BeliefsSnapshot {
    const beliefs = [...this.#beliefs.values()].sort((a, b) => a.order - b.order);
    return { beliefs, events: this.#events, unread: this.#unread };
  }
}

/** The distributions in an event's data: where its fields name one, or the data itself. */
export function factorsOf(data: unknown): [factor: string | undefined, states: States][] {
  const fields = fieldsOf(data);
  const labels = ["labels", "states", "names"].map((name) => fields[name]).find(Array.isArray) ?? [];
  const named = ["beliefs", "belief", "belief_state", "state", "distribution", "probabilities", "posterior"];
  for (const value of [...named.map((name) => fields[name]), data]) {
    const states = statesOf(value, labels);
    if (states) return [[textOf(fields, "factor"), states]];
    const parts = typeof value === "object" && value !== null ? Object.entries(value) : [];
    const factors = parts.slice(0, FACTORS_MAX).flatMap(([name, part]): [string, States][] => {
      const states = typeof part === "object" && value !== data ? statesOf(part, []) : undefined;
      return states ? [[Array.isArray(value) ? `factor ${Number(name) + 1}` : cut(name), states]] : [];
    });
    if (factors.length) return factors;
  }
  return [];
}

/** A list of numbers, a map of them, or a list of `{state, probability}`. */
function statesOf(value: unknown, labels: readonly unknown[]): States | undefined {
  if (Array.isArray(value)) {
    const states = value.slice(0, STATES_MAX).map((one, i): [string, unknown] => {
      const { probability, p, value: number } = fieldsOf(one) as Record<string, unknown>;
      const label = textOf(fieldsOf(one), "state", "label", "name") ?? labelOf(labels[i]) ?? String(i);
      return [label, isNumber(one) ? one : (probability ?? p ?? number)];
    });
    return states.length && states.every(([, one]) => isNumber(one)) ? (states as States) : undefined;
  }
  const states = Object.entries(fieldsOf(value)).slice(0, STATES_MAX).map(([name, one]) => [cut(name), one] as const);
  return states.length && states.every(([, one]) => isNumber(one)) ? (states as States) : undefined;
}

const labelOf = (label: unknown) => (typeof label === "boolean" ? String(label) : textOf({ label }, "label"));

const sum = (states: States) => states.reduce((total, [, value]) => total + value, 0);

/** One minus the entropy as a share of its largest. */
function certainty(states: States): number {
  const entropy = states.reduce((bits, [, p]) => (p > 0 ? bits - p * Math.log2(p) : bits), 0);
  return Math.min(1, Math.max(0, 1 - entropy / Math.log2(states.length)));
}
