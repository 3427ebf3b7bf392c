import { useId } from "react";

/** A point: where on the axis of time, from 0 to 1, and its value; undefined where there is none. */
export type Point = readonly [x: number, value: number | undefined];

/** Points at even distances, the newest at the end. */
export const evenly = (values: readonly number[], length = values.length): Point[] =>
  values.map((value, i) => [(length - values.length + i) / Math.max(1, length - 1), value]);

/** A stretch of time, in milliseconds since 1970. */
export interface Axis {
  readonly begin: number;
  readonly end: number;
}

/** Where on an axis a time is. */
export const placeOf = (time: number, { begin, end }: Axis): number => 1 - (end - time) / Math.max(1, end - begin);

/** Points by their times, and none where a hole is. */
export function timed<Item extends { time: number; isAfterHole: boolean }>(items: readonly Item[], value: (item: Item) => number | undefined, axis: Axis): Point[] {
  return items.flatMap((item): Point[] => {
    const x = placeOf(item.time, axis);
    return item.isAfterHole ? [[x, undefined], [x, value(item)]] : [[x, value(item)]];
  });
}

/** An end for an axis that is at least `value`: an easy number of one digit and zeros. */
export function axisEnd(value: number, min = 4): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, min)));
  return power * [1, 2, 3, 4, 6, 8, 10].find((step) => step * power >= Math.max(value, min))!;
}

export interface Shape {
  readonly line: string;
  readonly area: string;
}

/** The line through points, and the area below it, in a box of 100 by 100. */
export function shapeOf(points: readonly Point[], low: number, high: number): Shape {
  let line = "";
  let area = "";
  let first: number | undefined;
  let last = 0;
  const close = () => {
    if (first !== undefined) area += `L${last} 100L${first} 100Z`;
    first = undefined;
  };
  for (const [x, value] of points) {
    if (value === undefined) {
      close();
      continue;
    }
    const at = `${round(100 * x)} ${round(100 - (100 * (value - low)) / (high - low || 1))}`;
    line += `${first === undefined ? "M" : "L"}${at}`;
    area += `${first === undefined ? "M" : "L"}${at}`;
    last = round(100 * x);
    first ??= last;
  }
  close();
  return { line, area };
}

const round = (value: number) => Math.round(value * 100) / 100;

/** An area that fades towards its foot, and the line above it. */
export function Curve({ shape: { line, area }, tone }: { shape: Shape; tone: string }) {
  const id = useId();
  return (
    <g className={`tone-${tone}`}>
      <linearGradient id={id} x1="0" y1="0" x2="0" y2="100" gradientUnits="userSpaceOnUse">
        <stop className="fade-top" />
        <stop className="fade-foot" offset="1" />
      </linearGradient>
      <path fill={`url(#${id})`} d={area} />
      <path className="line" d={line} />
    </g>
  );
}

/** A small plot without axes. `label` says what it shows. */
export function Sparkline({ points, label, low = 0, tone = "a" }: { points: readonly Point[]; label: string; low?: number | "fit"; tone?: "a" | "b" | "c" }) {
  const values = points.flatMap(([, value]) => (value === undefined ? [] : [value]));
  const highest = Math.max(...values, low === "fit" ? -Infinity : low);
  const lowest = low === "fit" ? Math.min(...values) : low;
  const room = (highest - lowest) * 0.12 || 1;
  const shape = shapeOf(points, low === "fit" ? lowest - room : low, highest + room);
  const [x, y] = /(\S+) (\S+)$/.exec(shape.line.replaceAll(/[ML]/g, "  "))?.slice(1) ?? [];
  return (
    <div className={`spark tone-${tone}`} role="img" aria-label={label}>
      <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
        <Curve shape={shape} tone={tone} />
      </svg>
      {x && y && <i style={{ left: `${x}%`, top: `${y}%` }} />}
    </div>
  );
}
