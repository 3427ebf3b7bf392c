import type { Sample } from "../model/metrics";
import { count, duration, plural } from "./format";
import { Panel, Refused } from "./panel";
import { RatesPlot } from "./rates-plot";
import { Sparkline, timed } from "./sparkline";
import { useMonitor, useStore } from "./use-store";

export function MetricsPanel() {
  const monitor = useMonitor();
  const samples = useStore(monitor.metrics);
  const { refused } = useStore(monitor);
  const last = samples.at(-1);
  return (
    <Panel
      id="metrics"
      title="System metrics"
      aside={last && <span className="faint">{plural(last.messagesIn, "message")} in, {count(last.messagesOut)} out since the start</span>}
    >
      {refused.some(([name]) => name === "system.metrics") && <Refused name="system.metrics" />}
      <div className="metrics">
        <RatesPlot samples={samples} />
        <div className="tiles">
          <Tile name="Connections" samples={samples} value={(sample) => sample.connections} format={count} />
          <Tile name="Subscriptions" samples={samples} value={(sample) => sample.subscriptions} format={count} />
          <Tile name="Uptime" samples={samples} value={(sample) => sample.uptime} format={duration} />
        </div>
      </div>
    </Panel>
  );
}

interface TileProps {
  name: string;
  samples: readonly Sample[];
  value(sample: Sample): number;
  format(value: number): string;
}

function Tile({ name, samples, value, format }: TileProps) {
  const last = samples.at(-1);
  const values = samples.map(value);
  const label = last
    ? `${name} over time: now ${format(value(last))}, lowest ${format(Math.min(...values))}, highest ${format(Math.max(...values))}`
    : `${name} over time: nothing yet`;
  return (
    <div className="tile">
      <span className="label">{name}</span>
      <span className="figure">{last ? format(value(last)) : "–"}</span>
      <Sparkline points={timed(samples, value, 1)} label={label} />
    </div>
  );
}
