import { type FormEvent, useId, useState } from "react";
import { plural, time } from "./format";
import { Panel, Refused } from "./panel";
import { Teach } from "./teach";
import { useMonitor, useStore } from "./use-store";

const COMMANDS = ["start", "stop", "restart", "status", "update", "create", "delete"];

const EXAMPLES = [
  { agent_id: "scout-1", name: "Scout", type: "explorer", status: "active" },
  { agent_id: "planner-2", name: "Planner", type: "coordinator", status: "idle" },
  { agent_id: "guard-3", name: "Guard", type: "sentinel", status: "failed" },
];

export function AgentsPanel() {
  const monitor = useMonitor();
  const { agents, events, unnamed } = useStore(monitor.agents);
  const [chosen, choose] = useState("");
  return (
    <Panel id="agents" title="Agents" aside={events > 0 && <span className="faint">{plural(agents.length, "agent")}, {plural(events, "event")}</span>}>
      <Refused names={["agent.*"]} />
      {agents.length === 0 ? (
        <Teach title={unnamed ? "No event has named an agent yet" : "No agent has been heard of yet"} topic="agent.update" examples={EXAMPLES}>
          Every event <code>agent.*</code> shows here, by the <code>agent_id</code> in its data.
        </Teach>
      ) : (
        <ul className="agents" aria-label="Agents">
          {agents.map(({ id, name, kind, status, event, events, time: heard }) => (
            <li key={id}>
              <button type="button" className="agent" aria-pressed={chosen === id} onClick={() => choose(chosen === id ? "" : id)}>
                <span className={`dot ${toneOf(status)}`} aria-hidden="true" />
                <span className="agent-name">
                  <b>{name ?? id}</b>
                  <span className="faint">{[name && id, kind].filter(Boolean).join(" · ")}</span>
                </span>
                <span className={`status ${toneOf(status)}`}>{status ?? "unknown"}</span>
                <span className="agent-last faint">
                  <span>{event}</span>
                  <span>{time(heard)} · {plural(events, "event")}</span>
                </span>
              </button>
            </li>
          ))}
        </ul>
      )}
      <CommandForm agent={chosen} onAgent={choose} known={agents.map(({ id }) => id)} />
    </Panel>
  );
}

/** How a status is coloured: by what it likely means. */
function toneOf(status: string | undefined): string {
  if (/^(active|running|started|online|ready|created|resumed|ok|healthy)$/i.test(status ?? "")) return "good";
  if (/^(failed|error|crashed|dead|offline|unhealthy)$/i.test(status ?? "")) return "bad";
  if (/^(starting|stopping|restarting|pending|degraded|warning|busy|paused)$/i.test(status ?? "")) return "wait";
  return "";
}

function CommandForm({ agent, onAgent, known }: { agent: string; onAgent(id: string): void; known: readonly string[] }) {
  const monitor = useMonitor();
  const id = useId();
  const [command, setCommand] = useState("status");
  const [said, say] = useState({ text: "", tone: "" });
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    if (!agent.trim()) return say({ text: "Name the agent, or choose one from the list.", tone: "bad" });
    const begun = performance.now();
    try {
      say({ text: "Waiting for the gateway…", tone: "" });
      const status = await monitor.command(agent.trim(), command);
      say({ text: `${command} ${agent.trim()}: ${status} after ${Math.max(1, Math.round(performance.now() - begun))} ms`, tone: "good" });
    } catch (error) {
      say({ text: error instanceof Error ? error.message : String(error), tone: "bad" });
    }
  };
  return (
    <form className="command" onSubmit={submit} aria-label="Command to an agent">
      <label>
        Agent
        <input value={agent} list={`${id}-known`} placeholder="agent id" autoComplete="off" spellCheck={false} onChange={({ target }) => onAgent(target.value)} />
      </label>
      <datalist id={`${id}-known`}>
        {known.map((one) => <option key={one} value={one} />)}
      </datalist>
      <label>
        Command
        <select value={command} onChange={({ target }) => setCommand(target.value)}>
          {COMMANDS.map((one) => <option key={one}>{one}</option>)}
        </select>
      </label>
      <button className="main">Send</button>
      <p role="status" className={`said ${said.tone}`}>{said.text || "The gateway acknowledges a command; carrying it out is the application's."}</p>
    </form>
  );
}
