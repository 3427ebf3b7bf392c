import { type KeyboardEvent, useId, useLayoutEffect, useRef, useState } from "react";
import type { Line } from "../model/lines";
import { time } from "./format";

/** Pixels of a line, as in the style sheet. */
const ROW = 30;
/** Lines that are drawn beyond those that are seen, at both ends. */
const SPARE = 4;
/** Characters of an event's data that are drawn. */
const TEXT_MAX = 300;

/** Lines, the newest first. Only those that are seen are drawn. */
export function EventList({ lines, chosen, onChoose }: { lines: readonly Line[]; chosen: Line | undefined; onChoose(line: Line | undefined): void }) {
  const list = useRef<HTMLDivElement>(null);
  const id = useId();
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(420);
  const newest = useRef<number>(undefined);

  useLayoutEffect(() => {
    const observer = new ResizeObserver(() => setHeight(list.current?.clientHeight ?? 420));
    observer.observe(list.current!);
    return () => observer.disconnect();
  }, []);

  // Who has scrolled away from the newest keeps what is seen in its place.
  useLayoutEffect(() => {
    const known = newest.current;
    newest.current = lines.at(-1)?.id;
    if (known === undefined || !list.current || list.current.scrollTop < ROW) return;
    let added = 0;
    while (added < lines.length && lines[lines.length - 1 - added]!.id > known) added += 1;
    if (added) list.current.scrollTop += added * ROW;
  }, [lines]);

  const at = (index: number) => lines[lines.length - 1 - index];
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const end = Math.min(lines.length, Math.ceil((top + height) / ROW) + SPARE);
  const drawn: [number, Line][] = [];
  for (let i = first; i < end; i++) drawn.push([i, at(i)!]);

  const move = (event: KeyboardEvent) => {
    const index = chosen ? lines.length - 1 - lines.findIndex(({ id }) => id === chosen.id) : -1;
    const known = chosen && index < lines.length ? index : -1;
    const page = Math.max(1, Math.floor(height / ROW) - 1);
    const steps: Record<string, number> = {
      ArrowDown: known + 1,
      ArrowUp: known - 1,
      PageDown: known + page,
      PageUp: known - page,
      Home: 0,
      End: lines.length - 1,
    };
    if (event.key === "Escape") return onChoose(undefined);
    const wanted = steps[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    const next = Math.min(lines.length - 1, Math.max(0, wanted));
    onChoose(at(next));
    const box = list.current!;
    if (next * ROW < box.scrollTop) box.scrollTop = next * ROW;
    else if ((next + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (next + 1) * ROW - box.clientHeight;
  };

  const isDrawn = chosen && drawn.some(([, line]) => line.id === chosen.id);
  return (
    <div
      className="list"
      ref={list}
      role="listbox"
      tabIndex={0}
      aria-label="Events, newest first"
      aria-activedescendant={isDrawn ? `${id}-${chosen.id}` : undefined}
      onKeyDown={move}
      onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
    >
      <div className="list-all" role="presentation" style={{ height: lines.length * ROW }}>
        {drawn.map(([index, line]) => (
          <div
            key={line.id}
            id={`${id}-${line.id}`}
            className={`row ${line.kind} of-${/^\w*/.exec(line.name)?.[0]}`}
            role="option"
            aria-selected={line.id === chosen?.id}
            aria-setsize={lines.length}
            aria-posinset={index + 1}
            style={{ top: index * ROW }}
            onClick={() => onChoose(line)}
          >
            <time>{time(line.time)}</time>
            <span className="row-name">{line.name}</span>
            <span className="row-data">{describe(line)}</span>
          </div>
        ))}
      </div>
    </div>
  );
}

function describe(line: Line): string {
  if (line.kind !== "gap") return line.text.slice(0, TEXT_MAX);
  const { lost } = JSON.parse(line.text) as { lost: number | null };
  return lost === null ? "events are missing here, how many is not known" : `${lost} events are missing here`;
}
