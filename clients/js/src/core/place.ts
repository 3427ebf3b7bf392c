// A place in a topic, as text: `<epoch>-<offset>`, or `sse:` and the cursor of a stream of events.

/** Epoch and offset of a place; undefined of a cursor, and of what is neither. */
export function parse(place: string): [epoch: string, offset: string] | undefined {
  const found = /^(\d{1,20})-(\d{1,20})$/.exec(place);
  return found ? [found[1]!, found[2]!] : undefined;
}

/** Compares decimal numbers without leading zeros, of whatever length. */
function compare(a: string, b: string): number {
  return a.length - b.length || (a < b ? -1 : a > b ? 1 : 0);
}

/** Whether two places are of the same epoch. */
export function sameEpoch(a: string, b: string): boolean {
  const epoch = parse(a)?.[0];
  return epoch !== undefined && epoch === parse(b)?.[0];
}

/** Whether an event at `place` was there before, of a client that is at `known`. */
export function isPast(place: string, known: string): boolean {
  return sameEpoch(place, known) && compare(parse(place)![1], parse(known)![1]) <= 0;
}

/**
 * From which of two places to go on so that both miss the least: the earlier one, or that of the newer epoch. Undefined
 * where they cannot be compared.
 */
export function earlier(a: string, b: string): string | undefined {
  if (a === b) return a;
  const [one, other] = [parse(a), parse(b)];
  if (!one || !other) return undefined;
  return (compare(other[0], one[0]) || compare(one[1], other[1])) < 0 ? a : b;
}
