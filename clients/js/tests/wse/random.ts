/** Numbers from 0 to 1 that are the same at each run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const CHARS = ["a", "Z", "0", " ", '"', "\\", "\n", "\u0000", "\u007f", "é", "\u2028", "\uffff", "😀", "/"];

/** A value as JSON has them, up to `depth` deep. */
export function randomValue(random: () => number, depth = 4): unknown {
  const pick = Math.floor(random() * (depth > 0 ? 9 : 7));
  const text = () => Array.from({ length: Math.floor(random() * 6) }, () => CHARS[Math.floor(random() * CHARS.length)]).join("");
  switch (pick) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return Math.floor((random() - 0.5) * 2 ** Math.floor(random() * 53));
    case 3:
      return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
    case 4:
      return Math.floor(random() * 300);
    case 5:
    case 6:
      return text();
    case 7:
      return Array.from({ length: Math.floor(random() * 20) }, () => randomValue(random, depth - 1));
    default:
      return Object.fromEntries(Array.from({ length: Math.floor(random() * 20) }, () => [text(), randomValue(random, depth - 1)]));
  }
}
