import { type FormEvent, useEffect, useId, useMemo, useState } from "react";
import { type Line, LINES_MAX, exportOf } from "../model/lines";
import { copy, save } from "./copy";
import { EventList } from "./event-list";
import { count, plural, time } from "./format";
import { Panel, Refused } from "./panel";
import { Teach } from "./teach";
import { useMonitor, useStore } from "./use-store";

export function EventsPanel() {
  const monitor = useMonitor();
  const store = monitor.events;
  const { lines, total, filter, isPaused, missed, rates } = useStore(store);
  const { topics } = useStore(monitor);
  const [chosen, choose] = useState<Line>();
  const [said, say] = useState("");
  const lastRate = rates.at(-1);
  return (
    <Panel
      id="events"
      title="Events"
      aside={
        <>
          <Rates rates={rates} />
          <span className="rate"><b>{lastRate === undefined ? "–" : count(lastRate)}</b> <span className="faint">a second, {count(total)} in all</span></span>
        </>
      }
    >
      <div className="tools">
        <TopicsForm topics={topics} onTopics={(names) => monitor.setTopics(names)} />
        <FilterField onFilter={(text) => store.setFilter(text)} />
        <div className="buttons">
          <button type="button" aria-pressed={isPaused} onClick={() => store.setPaused(!isPaused)}>
            {isPaused ? `Resume${missed ? ` (${count(missed)} new)` : ""}` : "Pause"}
          </button>
          <button type="button" className="plain" disabled={!lines.length} onClick={async () => say((await copy(exportOf(lines))) ? `${plural(lines.length, "line")} copied.` : "The browser does not let this page copy.")}>
            Copy
          </button>
          <button
            type="button"
            className="plain"
            disabled={!lines.length}
            onClick={() => {
              save(`fanfare-events-${new Date().toISOString().replaceAll(/[:.]/g, "-")}.ndjson`, exportOf(lines));
              say(`${plural(lines.length, "line")} exported.`);
            }}
          >
            Export
          </button>
          <button type="button" className="plain" disabled={!lines.length} onClick={() => (store.clear(), choose(undefined), say("Cleared."))}>
            Clear
          </button>
        </div>
        <span role="status" className="visually-hidden">{isPaused ? "Paused." : ""} {said}</span>
      </div>
      <Refused names={topics} />
      {lines.length === 0 && total === 0 ? (
        <Teach title="Nothing has come yet" topic="news" examples={[{ hello: "world" }]}>
          Every event of these topics shows here as it comes, the newest first.
        </Teach>
      ) : (
        <div className="log">
          {lines.length === 0 ? (
            <p className="none faint">{filter ? `None of the newest ${plural(LINES_MAX, "event")} has “${filter}” in its name or data.` : "The list is empty. New events show as they come."}</p>
          ) : (
            <EventList lines={lines} chosen={chosen} onChoose={choose} />
          )}
          <Detail line={chosen} />
        </div>
      )}
    </Panel>
  );
}

function TopicsForm({ topics, onTopics }: { topics: readonly string[]; onTopics(names: string[]): void }) {
  const [text, setText] = useState(topics.join(", "));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const names = text.split(/[\s,]+/).filter(Boolean);
    if (!names.length) names.push("*");
    setText(names.join(", "));
    onTopics(names);
  };
  const isChanged = text.split(/[\s,]+/).filter(Boolean).join() !== topics.join();
  return (
    <form className="field-with-button" onSubmit={submit}>
      <label>
        Topics
        <input value={text} placeholder="*" autoComplete="off" spellCheck={false} onChange={({ target }) => setText(target.value)} />
      </label>
      <button disabled={!isChanged}>Apply</button>
    </form>
  );
}

function FilterField({ onFilter }: { onFilter(text: string): void }) {
  const [text, setText] = useState("");
  const id = useId();
  useEffect(() => onFilter(text), [text]);
  return (
    <div className="filter">
      <label htmlFor={id}>Filter</label>
      <input id={id} type="search" value={text} placeholder="name or data" autoComplete="off" spellCheck={false} onChange={({ target }) => setText(target.value)} />
    </div>
  );
}

/** A bar for each of the last seconds, and a grey ground where the page did not see all of one. */
function Rates({ rates }: { rates: readonly (number | undefined)[] }) {
  const seen = rates.filter((rate) => rate !== undefined);
  const highest = Math.max(0, ...seen);
  const bars = (heightOf: (rate: number | undefined) => number) =>
    rates.map((rate, i) => (heightOf(rate) ? `M${i + 0.5} 20V${20 - heightOf(rate)}` : "")).join("");
  const label = seen.length
    ? `Events a second over the last minute: highest ${count(highest)}`
    : "Events a second over the last minute: no second of it was seen";
  const unseen = seen.length && rates.length - seen.length;
  return (
    <svg className="bars" viewBox={`0 0 ${rates.length} 20`} preserveAspectRatio="none" role="img" aria-label={unseen ? `${label}, ${plural(unseen, "second")} not seen` : label}>
      <path className="unseen" d={bars((rate) => (rate === undefined ? 20 : 0))} />
      <path d={bars((rate = 0) => rate && Math.max(1, (20 * rate) / highest))} />
    </svg>
  );
}

function Detail({ line }: { line: Line | undefined }) {
  const [said, say] = useState("");
  useEffect(() => say(""), [line]);
  // Not at each frame: it may be large.
  const text = useMemo(() => (line ? JSON.stringify(JSON.parse(line.text), null, 2) : ""), [line]);
  if (!line) return <aside className="detail none faint" aria-label="Chosen event">Choose an event to see all of it.</aside>;
  return (
    <aside className="detail" aria-label="Chosen event">
      <div className="detail-head">
        <b>{line.name}</b>
        <button type="button" className="small" onClick={async () => say((await copy(text)) ? "Copied." : "The browser does not let this page copy.")}>
          Copy data
        </button>
      </div>
      <p className="faint small-text">
        {line.kind} · {time(line.time)}
        {line.publisher && <> · by {line.publisher}</>}
        {line.position && <> · <code>{line.position}</code></>} <span role="status">{said}</span>
      </p>
      <pre tabIndex={0} aria-label="Data">{text}</pre>
    </aside>
  );
}
