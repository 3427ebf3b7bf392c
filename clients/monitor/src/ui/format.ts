// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const ofClock = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" } as const;
const clock = new Intl.DateTimeFormat("en", ofClock);
const dated = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", ...ofClock });

/** A count: 12,345, and 1.2M from a million on. */
export const count = (value: number): string => (Math.abs(value) < 1e6 ? whole : compact).format(value);

/** A rate: one decimal below ten. */
export const rate = (value: number): string => (value < 10 ? tenth.format(value) : count(value));

export const milliseconds = (value: number): string => `${value < 10 ? tenth.format(value) : count(value)} ms`;

/** A time of today; with its day where it is of another. */
export const time = (value: number, now = Date.now()): string =>
  (new Date(value).toDateString() === new Date(now).toDateString() ? clock : dated).format(value);

/** A duration in its two largest units. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const of = (large: number, unit: string, small: number, unitOfRest: string) => {
    const rest = Math.floor((s % large) / small);
    return `${count(Math.floor(s / large))} ${unit}${rest ? ` ${rest} ${unitOfRest}` : ""}`;
  };
  if (s < 60) return `${s} s`;
  if (s < 3600) return of(60, "min", 1, "s");
  if (s < 86_400) return of(3600, "h", 60, "min");
  return of(86_400, "d", 3600, "h");
}

export const plural = (value: number, one: string, many = `${one}s`): string => `${count(value)} ${value === 1 ? one : many}`;
