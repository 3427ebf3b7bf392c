/// <reference types="vite/client" />
// The hooks in a page, against a real gateway.
import * as React from "react";
import { type ReactNode, StrictMode, Suspense, useEffect, useState } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cdp, commands } from "vitest/browser";
import { type Client, connect } from "../../src/core/index.js";
import {
  FanfareProvider,
  type ListView,
  useClient,
  useInbox,
  usePresence,
  usePublish,
  useStatus,
  useSubscription,
} from "../../src/react/index.js";
import { until } from "../support/until.js";

let gateway: string;
let ws: string;
beforeAll(async () => {
  gateway = await commands.startGateway({ settings: { HUB__PRESENCE: "true", HUB__PRESENCE_GRACE: "100ms" } });
  ws = `${gateway}/api/v1/ws`;
});
afterAll(() => commands.stopGateway(gateway));

const roots: Root[] = [];
const clients: Client[] = [];
afterEach(async () => {
  seen.list = undefined;
  for (const root of roots.splice(0)) root.unmount();
  for (const client of clients.splice(0)) client.close();
  await until(async () => (await connections()).length === 0);
});

const get = async (path: string) => (await fetch(gateway.replace("ws", "http") + path)).json();
const connections = async (): Promise<any[]> => (await get("/api/v1/ws/connections")).connections;

function page(content: ReactNode): { root: Root; element: HTMLElement } {
  const element = document.createElement("main");
  const root = createRoot(element);
  roots.push(root);
  root.render(content);
  return { root, element };
}

function other(): Client {
  const client = connect(ws);
  clients.push(client);
  return client;
}

/** What a component had in its newest rendering. */
const seen: { list?: ListView<any> | undefined } = {};

function List({ topic = "news", limit = 100, last }: { topic?: string | null; limit?: number; last?: number }) {
  seen.list = useSubscription<any>(topic, { limit, last });
  return <p>{seen.list.events.map(({ data }) => JSON.stringify(data)).join()}</p>;
}

/** Counts the sockets that pages open. */
const sockets: WebSocket[] = [];
const { WebSocket: Plain } = globalThis;
class Counted extends Plain {
  constructor(...all: ConstructorParameters<typeof WebSocket>) {
    super(...all);
    sockets.push(this);
  }
}
const options = { WebSocket: Counted as any };

test("the React is the one that is meant", () => {
  expect(React.version.split(".")[0]).toBe(import.meta.env["REACT"]);
});

test("StrictMode opens one socket, and unmounting leaves nothing behind", async () => {
  sockets.length = 0;
  function Hello() {
    const publish = usePublish("news");
    useEffect(() => void publish("hello"), [publish]);
    return null;
  }
  const { root } = page(
    <StrictMode>
      <FanfareProvider url={ws} options={options}>
        <List />
        <List />
        <Hello />
      </FanfareProvider>
    </StrictMode>,
  );
  await until(() => seen.list?.state === "active" && seen.list.events.length > 0);
  expect(sockets).toHaveLength(1);
  expect((await connections()).map(({ subscriptions }) => subscriptions)).toEqual([["news"]]);
  root.unmount();
  await until(async () => (await connections()).length === 0);
  expect(sockets).toHaveLength(1);
  await until(() => sockets[0]!.readyState === 3);
});

test("a component that is unmounted unsubscribes, and a client of one's own stays", async () => {
  const client = other();
  const show = (topics: string[]) => (
    <StrictMode>
      <FanfareProvider client={client}>{topics.map((topic) => <List key={topic} topic={topic} />)}</FanfareProvider>
    </StrictMode>
  );
  const subscriptions = async () => (await client.query("subscriptions")).subscriptions;
  const { root } = page(show(["a", "b"]));
  await until(async () => (await subscriptions()).length === 2);
  root.render(show(["b"]));
  await until(async () => (await subscriptions()).join() === "b");
  root.unmount();
  await until(async () => (await subscriptions()).length === 0);
  expect(client.state).toBe("open");
});

test("another topic begins anew, and without one nothing is subscribed to", async () => {
  const client = other();
  await client.publish("first", 1);
  await client.publish("second", 2);
  const show = (topic: string | null) => (
    <FanfareProvider client={client}>
      <List topic={topic} last={1} />
    </FanfareProvider>
  );
  const { root, element } = page(show("first"));
  await until(() => element.textContent === "1");
  root.render(show("second"));
  await until(() => element.textContent === "2");
  root.render(show(null));
  await until(() => element.textContent === "");
  await until(async () => (await client.query("subscriptions")).count === 0);
});

// React 18 has none.
test.skipIf(!React.Activity)("what was hidden goes on where it was", async () => {
  const client = other();
  const show = (mode: "visible" | "hidden") => (
    <FanfareProvider client={client}>
      <React.Activity mode={mode}>
        <List topic="hidden" />
      </React.Activity>
    </FanfareProvider>
  );
  const subscribed = async () => (await client.query("subscriptions")).count;
  const { root, element } = page(show("visible"));
  await until(async () => (await subscribed()) === 1);
  await client.publish("hidden", 1);
  await until(() => element.textContent === "1");
  root.render(show("hidden"));
  await until(async () => (await subscribed()) === 0);
  await client.publish("hidden", 2);
  root.render(show("visible"));
  await until(() => element.textContent === "1,2");
  expect(seen.list!.gap).toBeUndefined();
});

test("another address is another client", async () => {
  const states: string[] = [];
  function Where() {
    const { state } = useStatus();
    const { session } = useClient();
    states.push(state);
    return <p>{state === "open" && session?.client_id}</p>;
  }
  const show = (name: string) => (
    <StrictMode>
      <FanfareProvider url={`${ws}/${name}`}>
        <Where />
      </FanfareProvider>
    </StrictMode>
  );
  const { root, element } = page(show("one"));
  await until(() => element.textContent === "one");
  expect(states).not.toContain("closed");
  root.render(show("two"));
  await until(() => element.textContent === "two");
  await until(async () => (await connections()).map(({ client_id }) => client_id).join() === "two");
});

test("a connection stays while a Suspense boundary above shows its fallback again", async () => {
  sockets.length = 0;
  let finish = () => {};
  const loading = new Promise<void>((done) => (finish = done));
  let isLoaded = false;
  function Slow({ waits }: { waits: boolean }) {
    if (waits && !isLoaded) throw loading;
    return null;
  }
  const show = (waits: boolean) => (
    <Suspense fallback={<i>loading</i>}>
      <FanfareProvider url={ws} options={options}>
        <List topic="kept" />
      </FanfareProvider>
      <Slow waits={waits} />
    </Suspense>
  );
  const { root, element } = page(show(false));
  await until(() => seen.list?.state === "active");
  root.render(show(true));
  await until(() => element.querySelector("i") !== null);
  // What was put off until the next turn is done.
  await new Promise((done) => setTimeout(done));
  expect(sockets.map(({ readyState }) => readyState)).toEqual([WebSocket.OPEN]);
  isLoaded = true;
  finish();
  await until(() => element.querySelector("i") === null);
  await other().publish("kept", 1);
  await until(() => element.textContent === "1");
  expect(sockets.map(({ readyState }) => readyState)).toEqual([WebSocket.OPEN]);
  // It closes when it is unmounted there, too.
  isLoaded = false;
  root.render(show(true));
  await until(() => element.querySelector("i") !== null);
  root.unmount();
  await until(() => sockets[0]!.readyState === WebSocket.CLOSED);
});

test("a page of a server is taken over as it is", async () => {
  const content = (
    <FanfareProvider url={ws}>
      <List topic="hydrated" last={1} />
    </FanfareProvider>
  );
  await other().publish("hydrated", "later");
  const element = document.createElement("main");
  element.innerHTML = renderToString(content);
  const faults: unknown[] = [];
  roots.push(hydrateRoot(element, content, { onRecoverableError: (error) => faults.push(error) }));
  await until(() => element.textContent === '"later"');
  expect(faults).toEqual([]);
});

test("reduce makes a value of events and gaps, callbacks are those of the newest render", async () => {
  const got: string[] = [];
  let rerender: (name: string) => void;
  function Total() {
    const [name, setName] = useState("first");
    rerender = setName;
    const { value, gap } = useSubscription("sums", {
      since: "1-1",
      initial: { sum: 0, gaps: 0 },
      reduce: ({ sum, gaps }, item) =>
        item.type === "event" ? { sum: sum + Number(item.data), gaps } : { sum, gaps: gaps + 1 },
      onEvent: ({ data }) => got.push(`${name} ${data}`),
      onGap: () => got.push(`${name} gap`),
    });
    return <p>{`${name} ${value.sum} ${value.gaps} ${gap?.reason}`}</p>;
  }
  const client = other();
  await client.publish("sums", 0);
  const { element } = page(
    <FanfareProvider client={client}>
      <Total />
    </FanfareProvider>,
  );
  // A position of another epoch: what came since cannot be known.
  await until(() => element.textContent === "first 0 1 gateway");
  await client.publish("sums", 3);
  await until(() => element.textContent === "first 3 1 gateway");
  rerender!("second");
  await until(() => element.textContent === "second 3 1 gateway");
  await client.publish("sums", 4);
  await until(() => element.textContent === "second 7 1 gateway");
  expect(got).toEqual(["first gap", "first 3", "second 4"]);
});

test("with onEvent alone nothing is kept, and events render nothing", async () => {
  const got: unknown[] = [];
  let renders = 0;
  let view: ListView<unknown>;
  function Quiet() {
    renders += 1;
    view = useSubscription("quiet", { onEvent: ({ data }) => got.push(data) });
    return null;
  }
  const client = other();
  page(
    <FanfareProvider client={client}>
      <Quiet />
    </FanfareProvider>,
  );
  await until(() => view?.state === "active");
  const before = renders;
  for (let i = 0; i < 20; i++) await client.publish("quiet", i);
  await until(() => got.length === 20);
  await new Promise((done) => setTimeout(done, 50));
  expect(renders).toBe(before);
  expect(view!.events).toEqual([]);
});

test("what is refused is a state with its reason", async () => {
  const { element } = page(
    <FanfareProvider client={other()}>
      <Refused />
    </FanfareProvider>,
  );
  function Refused() {
    const { state, error } = useSubscription("not a name");
    return <p>{`${state} ${error?.code}`}</p>;
  }
  await until(() => element.textContent === "rejected REJECTED");
});

test("what is for the user alone", async () => {
  const auth = { AUTH__JWT_SECRET: "a secret of thirty-two characters" };
  const closed = await commands.startGateway({ settings: auth });
  const token = await commands.makeToken("ann");
  function Inbox() {
    const { events, state } = useInbox<string>();
    return <p>{state === "active" ? `active ${events.map(({ name, data }) => name + data).join()}` : ""}</p>;
  }
  const { root, element } = page(
    <FanfareProvider url={`${closed}/api/v1/ws`} options={{ token: () => token }}>
      <Inbox />
    </FanfareProvider>,
  );
  await until(() => element.textContent === "active ");
  const body = JSON.stringify({ event: "invoice", data: "!", user_id: "ann" });
  const service = await commands.makeToken("shop", { role: "service" });
  const headers = { Authorization: `Bearer ${service}` };
  await fetch(`${closed.replace("ws", "http")}/api/v1/events`, { method: "POST", body, headers });
  await until(() => element.textContent === "active invoice!");
  root.unmount();
  await commands.stopGateway(closed);
});

test("the list goes on behind a crash of the gateway, which is told", async () => {
  const own = await commands.startGateway();
  const { root, element } = page(
    <FanfareProvider url={`${own}/api/v1/ws`} options={{ retryMin: 20, retryMax: 100 }}>
      <Fragile />
    </FanfareProvider>,
  );
  let publish: (data: unknown) => Promise<number>;
  function Fragile() {
    publish = usePublish("news");
    const { events, gap, state } = useSubscription("news");
    return <p>{`${state} ${events.map(({ data }) => data).join()} ${gap?.lost}`}</p>;
  }
  await until(() => element.textContent === "active  undefined");
  await publish!(1);
  await until(() => element.textContent === "active 1 undefined");
  await commands.killGateway(own);
  await until(() => element.textContent === "pending 1 undefined");
  await commands.restartGateway(own);
  await until(() => element.textContent === "active 1 null");
  await publish!(2);
  await until(() => element.textContent === "active 1,2 null");
  root.unmount();
  await commands.stopGateway(own);
});

test("presence: who is there, who comes, and who goes", async () => {
  function Room({ limit = 100 }) {
    const { users, count, state } = usePresence("room.1", { limit });
    return <p>{`${state} ${count} ${users.map(({ user }) => user).join()}`}</p>;
  }
  const come = (name: string) => {
    const client = connect(`${ws}/${name}`);
    clients.push(client);
    client.subscribe("room.1").on("event", () => {});
    return client;
  };
  const ann = come("ann");
  await until(async () => (await connections()).some(({ subscriptions }) => subscriptions.length));
  const { root, element } = page(
    <StrictMode>
      <FanfareProvider url={`${ws}/me`} options={options}>
        <Room />
      </FanfareProvider>
    </StrictMode>,
  );
  await until(() => element.textContent === "active 2 ann,me");
  come("bob");
  await until(() => element.textContent === "active 3 ann,me,bob");
  ann.close();
  await until(() => element.textContent === "active 2 me,bob");
  root.unmount();
  await until(async () => (await connections()).length === 1);
});

test("presence that is not kept is an error", async () => {
  const own = await commands.startGateway();
  function Room() {
    const { error } = usePresence("news");
    return <p>{(error as any)?.code}</p>;
  }
  const { root, element } = page(
    <FanfareProvider url={`${own}/api/v1/ws`}>
      <Room />
    </FanfareProvider>,
  );
  await until(() => element.textContent === "NO_PRESENCE");
  root.unmount();
  await commands.stopGateway(own);
});

test("10,000 events: all are rendered, and nothing grows", async () => {
  const COUNT = 10_000;
  const LIMIT = 1000;
  const rendered = new Set<number>();
  let longest = 0;
  let renders = 0;
  function Numbers() {
    const { events, gap } = useSubscription<{ n: number }>("numbers", { limit: LIMIT });
    renders += 1;
    longest = Math.max(longest, events.length);
    for (const { data } of events) rendered.add(data.n);
    return (
      <ul>
        {events.slice(-50).map(({ data, position }) => <li key={position}>{data.n}</li>)}
        {gap && <li>gap</li>}
      </ul>
    );
  }
  const { element } = page(
    <StrictMode>
      <FanfareProvider url={ws} options={options}>
        <Numbers />
        <List topic="numbers" />
      </FanfareProvider>
    </StrictMode>,
  );
  await until(() => seen.list?.state === "active");
  const heap = async () => {
    await (cdp() as any).send("HeapProfiler.collectGarbage");
    return (await (cdp() as any).send("Runtime.getHeapUsage")).usedSize;
  };
  // Never more on the way than the list keeps: what falls out of it before a render is not seen here.
  const publish = async (first: number, end: number) => {
    for (let n = first; n < end; n += LIMIT / 2) {
      await commands.publishNumbers(gateway, n, n + LIMIT / 2);
      await until(() => rendered.size === n + LIMIT / 2);
    }
  };
  // Not for as long as it has to grow to its limit.
  await publish(0, 2 * LIMIT);
  const before = await heap();
  await publish(2 * LIMIT, COUNT);
  await until(() => element.querySelector("li:last-child")?.textContent === String(COUNT - 1));
  expect(longest).toBe(LIMIT);
  expect(element.querySelectorAll("li")).toHaveLength(50);
  expect(seen.list!.events.map(({ data }) => data.n)).toEqual(Array.from({ length: 100 }, (_, i) => COUNT - 100 + i));
  // Two at a time, in StrictMode: fewer than events.
  expect(renders).toBeLessThan(COUNT);
  rendered.clear();
  expect((await heap()) - before).toBeLessThan(1024 * 1024);
});
