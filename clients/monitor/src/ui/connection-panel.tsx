import { type FormEvent, useEffect, useRef, useState } from "react";
import type { ManagerStatus } from "../manager";
import { HISTORY_SECONDS, type MonitorSnapshot, type Second } from "../model/monitor";
import { sentence } from "../model/refusal";
import { count, duration, milliseconds, plural } from "./format";
import { Panel } from "./panel";
import { Sparkline, evenly } from "./sparkline";
import { useMonitor, useStore } from "./use-store";

export function ConnectionPanel() {
  const monitor = useMonitor();
  const shown = useStore(monitor);
  const { gateway, status, session, history, now } = shown;
  const state = status?.state ?? "CONNECTING";
  const { latency, latencies = [] } = status ?? {};
  const isRefused = !!status?.error && status.error.remedy === "token" && status.retryAt === undefined && state === "CLOSED";
  return (
    <Panel id="connection" title="Connection" aside={gateway && <span className="chip">{gateway.mode}</span>}>
      <div className="state-line">
        <span className={`state ${state.toLowerCase()}`} role="status">
          {state}
        </span>
        <div className="buttons">
          <button type="button" className="small" disabled={!status} onClick={() => monitor.reconnect()}>
            {state === "OPEN" ? "Reconnect" : "Connect now"}
          </button>
          <button type="button" className="small plain" disabled={!status || (state === "CLOSED" && status.retryAt === undefined)} onClick={() => monitor.disconnect()}>
            Disconnect
          </button>
        </div>
      </div>
      <p className="endpoint" title="Endpoint">
        {gateway?.endpoint ?? location.origin}
      </p>
      <Why shown={shown} isRefused={isRefused} />
      {gateway && gateway.mode !== "demo" && <TokenForm isNeeded={isRefused} />}
      <History history={history} />
      <dl className="facts">
        <div>
          <dt>Latency</dt>
          <dd>{latency === undefined ? "–" : milliseconds(latency)}</dd>
        </div>
        <div>
          <dt>Queue length</dt>
          <dd>{count(status?.queueLength ?? 0)}</dd>
        </div>
        <div>
          <dt>Open for</dt>
          <dd>{status?.openSince === undefined ? "–" : duration((Math.max(now, status.openSince) - status.openSince) / 1000)}</dd>
        </div>
        <div>
          <dt>Reconnects</dt>
          <dd>{count(status?.reconnects ?? 0)}</dd>
        </div>
      </dl>
      <div className="latency">
        <span className="label">Round trips, every 5 s while the page is seen</span>
        <Sparkline
          tone="c"
          points={evenly(latencies)}
          label={latencies.length ? `Latency of the last ${plural(latencies.length, "round trip")}: ${latency === undefined ? "none now" : `now ${milliseconds(latency)}`}, highest ${milliseconds(Math.max(...latencies))}` : "Latency: not measured yet"}
        />
      </div>
      {session && state === "OPEN" && (
        <p className="faint small-text">
          {session.user === null ? "Without a user" : <>User <b>{session.user}</b>{session.role && `, ${session.role}`}</>}
          {" · "}client <code>{session.clientId}</code>
        </p>
      )}
    </Panel>
  );
}

/** Why it is not open, in words of an operator. */
function Why({ shown: { status, searchError, hasToken, session, now }, isRefused }: { shown: MonitorSnapshot; isRefused: boolean }) {
  const text = isRefused
    ? endOf(status) ?? (hasToken ? "This gateway does not take that token." : "This gateway wants a valid token.")
    : whyOf(status, searchError, !!session);
  const left = status?.retryAt === undefined ? 0 : Math.max(0, Math.ceil((status.retryAt - now) / 1000));
  if (!text) return null;
  return (
    <p className={isRefused || status?.error?.remedy === "fix" ? "notice bad" : "notice"}>
      <span role="status">{text}</span>
      {status?.retryAt !== undefined && ` Tries again ${left ? `in ${left} s` : "now"}.`}
    </p>
  );
}

function whyOf(status: ManagerStatus | undefined, searchError: string | undefined, hasBeenOpen: boolean): string | undefined {
  if (searchError) return `${searchError}. It is asked again every two seconds.`;
  if (!status || status.state !== "CLOSED") return undefined;
  const { error } = status;
  if (!error) return "Disconnected by you.";
  if (!hasBeenOpen && error.code === "CONNECTION_LOST") {
    return "The gateway cannot be reached, or refuses this page: it has to have this endpoint in its mode, and this page's origin in http.cors_origins.";
  }
  return sentence(error.message);
}

/** What has become of a token that was good. */
function endOf(status: ManagerStatus | undefined): string | undefined {
  const { code, reason } = status?.error?.details ?? {};
  if (code !== 4002) return undefined;
  return reason === "Token revoked" ? "The token has been revoked." : "The token has expired.";
}

function TokenForm({ isNeeded }: { isNeeded: boolean }) {
  const monitor = useMonitor();
  const { hasToken } = useStore(monitor);
  const [token, setToken] = useState("");
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (isNeeded) field.current?.focus({ preventScroll: true });
  }, [isNeeded]);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (!token.trim()) return field.current?.focus();
    monitor.useToken(token.trim());
    setToken("");
  };
  if (hasToken && !isNeeded) {
    return (
      <p className="token-kept faint">
        A token is in use, kept for this tab.
        <button type="button" className="small plain" onClick={() => monitor.useToken(undefined)}>
          Forget it
        </button>
      </p>
    );
  }
  return (
    <form className="token" onSubmit={submit}>
      <label htmlFor="token">Token</label>
      <input
        id="token"
        ref={field}
        type="password"
        autoComplete="off"
        spellCheck={false}
        placeholder="eyJ…"
        value={token}
        aria-describedby="token-help"
        onChange={({ target }) => setToken(target.value)}
      />
      <button className="main">Use</button>
      <p id="token-help" className="faint small-text">
        Kept for this tab alone, until it is closed.
      </p>
    </form>
  );
}

/** The connection's state over the last five minutes, as a strip; grey where the page was not there to see it. */
function History({ history }: { history: readonly Second[] }) {
  // Seconds of one state, joined.
  const runs: { state: Second; from: number; length: number }[] = [];
  const offset = HISTORY_SECONDS - history.length;
  history.forEach((state, i) => {
    const last = runs.at(-1);
    if (last?.state === state) last.length += 1;
    else runs.push({ state, from: offset + i, length: 1 });
  });
  const secondsOf = (wanted: Second) => history.filter((state) => state === wanted).length;
  const unseen = secondsOf("UNSEEN");
  const label = `Open for ${plural(secondsOf("OPEN"), "second")} of the last ${plural(history.length, "second")}`;
  return (
    <div className="history">
      <svg viewBox={`0 0 ${HISTORY_SECONDS} 1`} preserveAspectRatio="none" role="img" aria-label={unseen ? `${label}, ${unseen} not seen` : label}>
        {runs.map(({ state, from, length }) => state !== "UNSEEN" && (
          <rect key={from} className={state.toLowerCase()} x={from} width={length} height="1" />
        ))}
      </svg>
      <div className="rates-times" aria-hidden="true">
        <span>5 min ago</span>
        {unseen > 0 && <span>grey: not seen, the page was asleep</span>}
        <span>now</span>
      </div>
    </div>
  );
}
