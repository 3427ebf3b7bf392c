import type { Belief } from "../model/beliefs";
import { plural, time } from "./format";
import { Panel, Refused } from "./panel";
import { Sparkline, evenly } from "./sparkline";
import { Teach } from "./teach";
import { useMonitor, useStore } from "./use-store";

/** States of a belief that are shown. */
const SHOWN_MAX = 5;

const EXAMPLES = [
  { agent_id: "scout-1", beliefs: { "door open": 0.4, "door closed": 0.35, "no door": 0.25 } },
  { agent_id: "scout-1", beliefs: { "door open": 0.62, "door closed": 0.28, "no door": 0.1 } },
  { agent_id: "scout-1", beliefs: { "door open": 0.87, "door closed": 0.11, "no door": 0.02 } },
];

export function BeliefsPanel() {
  const monitor = useMonitor();
  const { beliefs, events, unread } = useStore(monitor.beliefs);
  return (
    <Panel id="beliefs" title="Belief state" aside={events > 0 && <span className="faint">{plural(events, "event")}{unread > 0 && `, ${unread} without values`}</span>}>
      <Refused names={["belief.*"]} />
      {beliefs.length === 0 ? (
        <Teach title={unread ? "No event has had values yet" : "No belief has been published yet"} topic="belief.state" examples={EXAMPLES}>
          Every event <code>belief.*</code> with states and their probabilities shows here: a map, a list of numbers, or a list for each factor.
        </Teach>
      ) : (
        <ul className="beliefs" aria-label="Beliefs" tabIndex={0}>
          {beliefs.map((belief) => <BeliefCard key={belief.key} belief={belief} />)}
        </ul>
      )}
    </Panel>
  );
}

function BeliefCard({ belief: { topic, agent, factor, states, isDistribution, certainties, time: heard } }: { belief: Belief }) {
  const largest = isDistribution ? 1 : Math.max(...states.map(([, value]) => Math.abs(value))) || 1;
  const certainty = Math.round(100 * (certainties.at(-1) ?? 0));
  return (
    <li className="belief">
      <div className="belief-head">
        <span>
          <b>{agent ?? topic}</b> <span className="faint">{[agent && topic, factor, time(heard)].filter(Boolean).join(" · ")}</span>
        </span>
        {isDistribution && (
          <span className="certainty">
            <span className="faint">certainty</span> <b>{certainty} %</b>
            <Sparkline tone="b" points={evenly(certainties)} label={`Certainty over the last ${plural(certainties.length, "event")}: now ${certainty} %`} />
          </span>
        )}
      </div>
      <ul className="states" aria-label={`States of ${agent ?? topic}`}>
        {states.slice(0, SHOWN_MAX).map(([name, value], i) => (
          <li key={i} className={i === 0 ? "first" : ""}>
            <span className="state-name">{name}</span>
            <span className="bar" aria-hidden="true"><i style={{ width: `${(100 * Math.abs(value)) / largest}%` }} /></span>
            <span className="state-value">{isDistribution ? `${(100 * value).toFixed(value >= 0.995 ? 0 : 1)} %` : Number(value.toPrecision(4))}</span>
          </li>
        ))}
      </ul>
      {states.length > SHOWN_MAX && <p className="faint small-text">and {plural(states.length - SHOWN_MAX, "less likely state")}</p>}
    </li>
  );
}
