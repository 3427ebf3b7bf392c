import { useState } from "react";
import type { MetricsSnapshot, Sample } from "../model/metrics";
import { duration, rate, time } from "./format";
import { type Axis, Curve, axisEnd, placeOf, shapeOf, timed } from "./sparkline";

/** Messages a second, in and out, over the time that is known; the pointer reads values off it. */
export function RatesPlot({ metrics: { samples, last, isCurrent, end } }: { metrics: MetricsSnapshot }) {
  const [pointed, point] = useState<number>();
  const axis: Axis = { begin: Math.min(end - 60_000, samples[0]?.time ?? end), end };
  const coming = timed(samples, ({ rateIn }) => rateIn, axis);
  const going = timed(samples, ({ rateOut }) => rateOut, axis);
  const highest = axisEnd(Math.max(0, ...[...coming, ...going].map(([, value]) => value ?? 0)));
  const [inward, outward] = [shapeOf(coming, 0, highest), shapeOf(going, 0, highest)];
  const span = (axis.end - axis.begin) / 1000;
  const label = last?.rateIn === undefined
    ? `Messages a second: no rate ${last && !isCurrent ? "in the last reading" : "yet"}`
    : `Messages a second: ${rate(last.rateIn)} in and ${rate(last.rateOut ?? 0)} out ${isCurrent ? "now" : "in the last reading"}, over the last ${duration(span)}`;

  // The sample that is nearest to the pointer.
  let read: { x: number; sample: Sample } | undefined;
  if (pointed !== undefined) {
    for (const sample of samples) {
      const x = placeOf(sample.time, axis);
      if (sample.rateIn !== undefined && (!read || Math.abs(x - pointed) < Math.abs(read.x - pointed))) read = { x, sample };
    }
  }
  return (
    <figure className="rates">
      <figcaption>
        <span>Messages a second</span>
        <span className="key tone-a"><i />in <b>{last?.rateIn === undefined ? "–" : rate(last.rateIn)}</b></span>
        <span className="key tone-b"><i />out <b>{last?.rateOut === undefined ? "–" : rate(last.rateOut)}</b></span>
      </figcaption>
      <div className="rates-box">
        <div className="rates-axis" aria-hidden="true">
          {[1, 0.5, 0].map((part) => <span key={part}>{rate(highest * part)}</span>)}
        </div>
        <div
          className="rates-plot"
          role="img"
          aria-label={label}
          onPointerMove={(event) => {
            const { left, width } = event.currentTarget.getBoundingClientRect();
            point((event.clientX - left) / width);
          }}
          onPointerLeave={() => point(undefined)}
        >
          <svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
            <path className="grid" d="M0 0H100M0 50H100M0 100H100" />
            <Curve shape={outward} tone="b" />
            <Curve shape={inward} tone="a" />
          </svg>
          {samples.every(({ rateIn }) => rateIn === undefined) && (
            <span className="rates-wait">{last && !isCurrent ? "No rate is known of this time." : "The first rate comes with the second reading, after five seconds."}</span>
          )}
          {read && (
            <div className={read.x > 0.5 ? "reader left" : "reader"} style={{ left: `${100 * read.x}%` }} aria-hidden="true">
              <div>
                <span className="faint">{time(read.sample.time)}</span>
                <span className="key tone-a"><i />in <b>{rate(read.sample.rateIn ?? 0)}</b></span>
                <span className="key tone-b"><i />out <b>{rate(read.sample.rateOut ?? 0)}</b></span>
              </div>
            </div>
          )}
        </div>
      </div>
      <div className="rates-times" aria-hidden="true"><span>{duration(span)} ago</span><span>now</span></div>
    </figure>
  );
}
