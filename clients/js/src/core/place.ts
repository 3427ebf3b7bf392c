// A place in a topic, as text: `<epoch>-<offset>`, or `sse:` and the cursor of a stream of events.

/** Epoch and offset of a place; undefined of a cursor, and of what is neither, or not there. */
export const parse = (place: string | undefined) =>
  /^(\d{1,19})-(\d{1,19})$/.exec(place!)?.slice(1) as [epoch: string, offset: string] | undefined;

/** Whether it is a place. */
export const isPlace = (place: any): unknown => parse(place) || /^sse:/.test(place);

/** Whether two places are of the same epoch. */
export const sameEpoch = (a: string, b: string): boolean => a.split("-")[0] === b.split("-")[0];

/**
 * From which of two places to go on so that both miss the least: the earlier one, or that of the newer epoch. Undefined
 * where they cannot be compared.
 */
export function earlier(a: string, b: string): string | undefined {
  if (a === b) return a;
  const [one, other] = [parse(a), parse(b)];
  if (!one || !other) return undefined;
  const [first, second] = one[0] === other[0] ? [one[1], other[1]] : [other[0], one[0]];
  return BigInt(first) < BigInt(second) ? a : b;
}

/** Whether an event at `place` was there before, of a client that is at `known`. Streams of events repeat nothing. */
export const isPast = (place: string, known: string | undefined): boolean =>
  !!parse(known) && sameEpoch(place, known!) && earlier(place, known!) === place;
