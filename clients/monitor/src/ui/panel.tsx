import { type ReactNode, useId } from "react";

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

/** What a panel says where the gateway refuses its subscription. */
export function Refused({ name, children }: { name: string; children?: ReactNode }) {
  return (
    <p className="notice bad" role="status">
      The gateway refuses a subscription to <code>{name}</code>. {children ?? "Take a token whose permissions cover it."}
    </p>
  );
}
