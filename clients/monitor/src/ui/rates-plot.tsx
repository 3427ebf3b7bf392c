import { useState } from "react";
import type { Sample } from "../model/metrics";
import { duration, rate, time } from "./format";
import { Curve, axisEnd, shapeOf, timed } from "./sparkline";

/** Messages a second, in and out, over the time that is known; the pointer reads values off it. */
export function RatesPlot({ samples }: { samples: readonly Sample[] }) {
  const [pointed, point] = useState<number>();
  const coming = timed(samples, ({ rateIn }) => rateIn);
  const going = timed(samples, ({ rateOut }) => rateOut);
  const end = axisEnd(Math.max(0, ...[...coming, ...going].map(([, value]) => value ?? 0)));
  const [inward, outward] = [shapeOf(coming, 0, end), shapeOf(going, 0, end)];
  const span = Math.max(60, ((samples.at(-1)?.time ?? 0) - (samples[0]?.time ?? 0)) / 1000);
  const last = samples.at(-1);
  const label = last?.rateIn === undefined
    ? "Messages a second: no rate yet"
    : `Messages a second: ${rate(last.rateIn)} in and ${rate(last.rateOut ?? 0)} out now, over the last ${duration(span)}`;

  // The sample that is nearest to the pointer.
  let read: { x: number; sample: Sample } | undefined;
  if (pointed !== undefined) {
    coming.forEach(([x, value], i) => {
      if (value !== undefined && (!read || Math.abs(x - pointed) < Math.abs(read.x - pointed))) read = { x, sample: samples[i]! };
    });
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
          {[1, 0.5, 0].map((part) => <span key={part}>{rate(end * part)}</span>)}
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
          {last?.rateIn === undefined && <span className="rates-wait">The first rate comes with the second reading, after five seconds.</span>}
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
