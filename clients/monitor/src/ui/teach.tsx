import { type ReactNode, useState } from "react";
import { copy } from "./copy";
import { useMonitor, useStore } from "./use-store";

/** What an empty panel shows: what would fill it, as a command, and a button that does it. */
export function Teach({ title, topic, examples, children }: { title: string; topic: string; examples: readonly unknown[]; children: ReactNode }) {
  const monitor = useMonitor();
  const { gateway } = useStore(monitor);
  const [said, say] = useState("");
  const { protocol, host } = new URL(gateway?.endpoint ?? location.href.replace(/^http/, "ws"));
  const base = `${protocol.replace("ws", "http")}//${host}`;
  const key = gateway?.mode === "prod" ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const command = `curl -s ${base}/api/v1/events${key} -d '${JSON.stringify({ event: topic, data: examples[0] })}'`;
  const publish = async () => {
    say("");
    try {
      for (const data of examples) await monitor.publish(topic, data);
      say(`Published to ${topic}.`);
    } catch (error) {
      say(`Not published: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  return (
    <div className="teach">
      <p className="teach-title">{title}</p>
      <p>{children}</p>
      <pre tabIndex={0} aria-label="Command">
        <code>{command}</code>
      </pre>
      <div className="buttons">
        <button type="button" onClick={publish}>
          Publish this example
        </button>
        <button
          type="button"
          className="plain"
          onClick={async () => say((await copy(command)) ? "Copied." : "The browser does not let this page copy.")}
        >
          Copy command
        </button>
        <span role="status" className="faint">
          {said}
        </span>
      </div>
    </div>
  );
}
