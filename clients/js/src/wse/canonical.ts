/**
 * JSON text as Python's `json.dumps(json.loads(text), sort_keys=True)` writes it, which is what signatures are about. Works
 * on the text, since numbers lose their form where they are parsed: `1.0` is not `1`. Throws what is no JSON.
 */
export function canonicalJson(text: string, without?: string): string {
  // Validates; what follows may then take each token for what it looks like.
  JSON.parse(text);
  const token = /\s*("(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+)\s*/gy;
  const next = (): string => token.exec(text)?.[1] ?? "";

  const value = (first: string, top = false): string => {
    if (first === "{") {
      const entries = new Map<string, string>();
      for (let key = next(); key !== "}"; key = next()) {
        if (key === ",") continue;
        next();
        // The last one of a name counts, as for Python.
        entries.set(JSON.parse(key) as string, value(next()));
      }
      if (top && without !== undefined) entries.delete(without);
      const sorted = [...entries].sort(([a], [b]) => compareCodePoints(a, b));
      return `{${sorted.map(([key, item]) => `${quote(key)}: ${item}`).join(", ")}}`;
    }
    if (first === "[") {
      const items: string[] = [];
      for (let item = next(); item !== "]"; item = next()) if (item !== ",") items.push(value(item));
      return `[${items.join(", ")}]`;
    }
    if (first.startsWith('"')) return quote(JSON.parse(first) as string);
    return /^[-\d]/.test(first) ? number(first) : first;
  };

  token.lastIndex = 0;
  return value(next(), true);
}

/** A string in ASCII, as Python writes it. */
function quote(text: string): string {
  return JSON.stringify(text).replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** An integer as it stands, a float as Python's `repr` has it. */
function number(token: string): string {
  if (!/[.eE]/.test(token)) return token === "-0" ? "0" : token;
  const value = Number(token);
  if (!Number.isFinite(value)) return value < 0 ? "-Infinity" : "Infinity";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa = "", exponent = ""] = value.toExponential().split("e");
  const power = Number(exponent);
  if (power >= 16 || power < -4) {
    return `${mantissa}e${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  }
  // Here `String` uses exponents for none but 1e-5 to 1e-7, which are above.
  const text = String(value);
  return text.includes(".") ? text : `${text}.0`;
}

/** Python sorts by code point, JavaScript by UTF-16 unit. */
function compareCodePoints(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
