import { useEffect, useState } from "react";
import { Monitor } from "../model/monitor";
import { AgentsPanel } from "./agents-panel";
import { BeliefsPanel } from "./beliefs-panel";
import { ConnectionPanel } from "./connection-panel";
import { EventsPanel } from "./events-panel";
import { MetricsPanel } from "./metrics-panel";
import { ThemeSwitch } from "./theme-switch";
import { MonitorContext, useMonitor, useStore } from "./use-store";
import icon from "../icon.svg";

export function App() {
  const [monitor, setMonitor] = useState<Monitor>();
  useEffect(() => {
    const started = new Monitor();
    setMonitor(started);
    return started.start(new URL(location.href));
  }, []);
  return (
    monitor && (
      <MonitorContext value={monitor}>
        <a className="skip" href="#events">Skip to the events</a>
        <Top />
        <main>
          <ConnectionPanel />
          <MetricsPanel />
          <AgentsPanel />
          <BeliefsPanel />
          <EventsPanel />
        </main>
      </MonitorContext>
    )
  );
}

function Top() {
  const { gateway, status } = useStore(useMonitor());
  const state = (status?.state ?? "CONNECTING").toLowerCase();
  useEffect(() => {
    document.title = `${state === "open" ? "" : `${state.toUpperCase()} · `}Fanfare monitor`;
  }, [state]);
  return (
    <header className="top">
      <img src={icon} alt="" width="30" height="30" />
      <h1>Fanfare <span>monitor</span></h1>
      <span className="where">
        <span className={`dot ${state}`} aria-hidden="true" />
        {gateway ? new URL(gateway.endpoint).host : location.host}
        {gateway?.version && <span className="faint version">version {gateway.version}</span>}
      </span>
      <ThemeSwitch />
    </header>
  );
}
