// What comes in events is whatever somebody published.

export type Fields = Readonly<Record<string, unknown>>;

/** The fields of an object; none of anything else. */
export const fieldsOf = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};

export const isNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

/** As much of a text as is kept: it may have been chosen to be long. */
export const cut = (text: string): string => text.slice(0, 128);

/** The first of `names` that holds a text that is not empty, or a number. */
export function textOf(fields: Fields, ...names: string[]): string | undefined {
  for (const name of names) {
    const value = fields[name];
    if (typeof value === "string" && value) return cut(value);
    if (isNumber(value)) return String(value);
  }
  return undefined;
}

/** The agent that an event is about: in its fields, or in those of `agent`. */
export function agentIdOf(data: unknown): string | undefined {
  const fields = fieldsOf(data);
  return textOf(fields, "agent_id", "agentId") ?? textOf(fieldsOf(fields["agent"]), "id", "agent_id") ?? textOf(fields, "id");
}
