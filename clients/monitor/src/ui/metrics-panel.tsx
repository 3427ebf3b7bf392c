import type { MetricsSnapshot, Sample } from "../model/metrics";
import { count, duration, plural } from "./format";
import { Panel, Refused } from "./panel";
import { RatesPlot } from "./rates-plot";
import { Sparkline, timed } from "./sparkline";
import { useMonitor, useStore } from "./use-store";

export function MetricsPanel() {
  const monitor = useMonitor();
  const metrics = useStore(monitor.metrics);
  const { last, isCurrent, age } = metrics;
  return (
    <Panel id="metrics" title="System metrics" aside={last && (
      isCurrent
        ? <span className="faint">{plural(last.messagesIn, "message")} in, {count(last.messagesOut)} out since the start</span>
        : <span className="old">The last reading came {duration(age / 1000)} ago</span>
    )}>
      <Refused names={["system.metrics"]} />
      <div className={last && !isCurrent ? "metrics not-current" : "metrics"}>
        <RatesPlot metrics={metrics} />
        <div className="tiles">
          <Tile name="Connections" metrics={metrics} value={(sample) => sample.connections} format={count} />
          <Tile name="Subscriptions" metrics={metrics} value={(sample) => sample.subscriptions} format={count} />
          <Tile name="Uptime" metrics={metrics} value={(sample) => sample.uptime} format={duration} />
        </div>
      </div>
    </Panel>
  );
}

interface TileProps {
  name: string;
  metrics: MetricsSnapshot;
  value(sample: Sample): number;
  format(value: number): string;
}

function Tile({ name, metrics: { samples, last, isCurrent, end }, value, format }: TileProps) {
  // The newest reading counts, however old.
  const values = (samples.length || !last ? samples : [last]).map(value);
  const label = last
    ? `${name} over time: ${isCurrent ? "now" : "last"} ${format(value(last))}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}`
    : `${name} over time: nothing yet`;
  return (
    <div className="tile">
      <span className="label">{name}</span>
      <span className="figure">{last ? format(value(last)) : "–"}</span>
      <Sparkline points={timed(samples, value, { begin: samples[0]?.time ?? end, end })} label={label} />
    </div>
  );
}
