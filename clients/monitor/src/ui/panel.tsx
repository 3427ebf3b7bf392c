import { type ReactNode, useId } from "react";
import { adviceOn } from "../model/refusal";
import { useMonitor, useStore } from "./use-store";

/** A part of the page with a heading; `aside` stands at its end. */
export function Panel({ id, title, aside, children }: { id: string; title: string; aside?: ReactNode; children: ReactNode }) {
  const heading = useId();
  return (
    <section className="panel" id={id} aria-labelledby={heading}>
      <header className="panel-head">
        <h2 id={heading}>{title}</h2>
        <div className="panel-aside">{aside}</div>
      </header>
      {children}
    </section>
  );
}

/** What a panel says of those of its subscriptions that the gateway refuses: a notice for each advice. */
export function Refused({ names }: { names: readonly string[] }) {
  const { refused, gateway } = useStore(useMonitor());
  const byAdvice = new Map<string, Set<string>>();
  for (const [name, reason] of refused) {
    if (!names.includes(name)) continue;
    const advice = adviceOn(name, reason, gateway?.mode === "demo");
    byAdvice.set(advice, (byAdvice.get(advice) ?? new Set()).add(name));
  }
  return [...byAdvice].map(([advice, names]) => (
    <p key={advice} className="notice bad" role="status">
      The gateway refuses a subscription to <code>{[...names].join(", ")}</code>. {advice}
    </p>
  ));
}
