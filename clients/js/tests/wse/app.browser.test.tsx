// The hook in a browser, against a real gateway: an application of WSE's users, and what they would notice.
import { type ReactNode, StrictMode, useEffect, useRef, useState } from "react";
import { type Root, createRoot } from "react-dom/client";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { commands, userEvent } from "vitest/browser";
import { type ConnectionQuality, QUALITY_STRATEGIES, WSEClient, openIndexedDb, useMessageQueueStore, useWSE, useWSEStore } from "../../src/wse/index.js";
import { ChatRoom, Dashboard } from "./app.js";

const SECRET = "a secret of thirty-two characters";
let url: string;
let endpoint: string;
let root: Root;
let place: HTMLElement;
let sockets: WebSocket[];
/** What each was asked for with. */
let asked: unknown[];
const Native = globalThis.WebSocket;
const errors: unknown[] = [];
const note = (event: ErrorEvent | PromiseRejectionEvent) => errors.push("reason" in event ? event.reason : event.error);

beforeAll(async () => {
  url = await commands.startGateway({ mode: "dev", settings: { AUTH__JWT_SECRET: SECRET, AUTH__TOKEN_IN_QUERY: "false", HUB__HISTORY_SIZE: "1000" } });
  endpoint = `${url}/wse`;
  window.addEventListener("error", note);
  window.addEventListener("unhandledrejection", note);
});
afterAll(async () => {
  globalThis.WebSocket = Native;
  await commands.stopGateway(url);
});
beforeEach(() => {
  sockets = [];
  asked = [];
  globalThis.WebSocket = class extends Native {
    constructor(address: string | URL, protocols?: string | string[]) {
      super(address, protocols);
      sockets.push(this);
      asked.push(protocols);
    }
  };
  place = document.body.appendChild(document.createElement("div"));
  root = createRoot(place);
});
afterEach(async () => {
  root.unmount();
  place.remove();
  await expect.poll(() => sockets.every(({ readyState }) => readyState === 3)).toBe(true);
  expect(errors.splice(0)).toEqual([]);
});

/** A token as a login gives it, made with the browser's own cryptography. */
async function token(user: string): Promise<string> {
  const part = (value: BufferSource | string) =>
    btoa(String.fromCharCode(...new Uint8Array(typeof value === "string" ? new TextEncoder().encode(value) : (value as ArrayBuffer))))
      .replace(/\+/g, "-").replace(/\//g, "_").replace(/=/g, "");
  const exp = Math.floor(Date.now() / 1000) + 600;
  const signed = `${part('{"alg":"HS256","typ":"JWT"}')}.${part(JSON.stringify({ sub: user, exp }))}`;
  const key = await crypto.subtle.importKey("raw", new TextEncoder().encode(SECRET), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return `${signed}.${part(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed)))}`;
}

const show = (node: ReactNode) => root.render(<StrictMode>{node}</StrictMode>);
const text = (label: string) => place.querySelector(`[aria-label="${label}"]`)?.textContent;
const connections = async () => ((await (await fetch(`${url.replace("ws", "http")}/wse/health`)).json()) as { connections: number }).connections;

/** Another client, that publishes. */
async function publisher(): Promise<WSEClient> {
  const client = new WSEClient([endpoint], { WebSocket: Native, eventTarget: new EventTarget(), offline: { persistToStorage: false } });
  client.setToken(await token("publisher"));
  client.start();
  await expect.poll(() => client.connection.isReady()).toBe(true);
  return client;
}

test("an application of WSE's users runs with another import", async () => {
  const mine = await token("ann");
  show(
    <>
      <Dashboard token={mine} endpoint={endpoint} />
      <ChatRoom token={mine} endpoint={endpoint} room="1" />
    </>,
  );
  await expect.poll(() => text("status")).toBe("connected");
  await expect.poll(() => text("quality")).toMatch(/^(excellent|good|fair|poor)$/);
  expect(text("topics")).toBe("prices, notices, chat:1");
  const other = await publisher();
  other.send("publish", { topic: "prices", type: "price_update", data: { symbol: "EUR", price: 1.085 } });
  other.send("publish", { topic: "notices", type: "notice", data: { text: "hello" } });
  await expect.poll(() => text("prices")).toBe("EUR: 1.08");
  await expect.poll(() => text("notices")).toBe("notice: hello");
  await userEvent.fill(place.querySelector("input")!, "hi");
  await userEvent.click(place.querySelector("button")!);
  await expect.poll(() => text("chat")).toContain("me: hi");
  other.stop();
});

test("StrictMode opens one socket, and an unmount leaves none", async () => {
  const before = await connections();
  show(<Dashboard token={await token("ann")} endpoint={endpoint} />);
  await expect.poll(() => text("status")).toBe("connected");
  expect(sockets).toHaveLength(1);
  expect(await connections()).toBe(before + 1);
  root.unmount();
  await expect.poll(connections).toBe(before);
  root = createRoot(place);
});

test("it waits for a login, and a logout closes", async () => {
  const before = await connections();
  show(<Dashboard token={undefined} endpoint={endpoint} />);
  await expect.poll(() => text("status")).toBe("pending");
  expect(sockets).toHaveLength(0);
  show(<Dashboard token={await token("ann")} endpoint={endpoint} />);
  await expect.poll(() => text("status")).toBe("connected");
  show(<Dashboard token={await token("bob")} endpoint={endpoint} />);
  await expect.poll(() => sockets.length).toBe(2);
  await expect.poll(() => text("status")).toBe("connected");
  await expect.poll(connections).toBe(before + 1);
  show(<Dashboard token={undefined} endpoint={endpoint} />);
  await expect.poll(connections).toBe(before);
  expect(text("status")).toBe("pending");
});

test("components that come later leave the connection as it is", async () => {
  const fresh = await token("ann");
  // Refused as one that has expired is.
  const expired = `${fresh.slice(0, -4)}AAAA`;
  const refreshAuthToken = vi.fn(async () => fresh);
  const mounted = vi.fn();
  function Child({ mine }: { mine?: string }) {
    const config = { endpoints: [`${endpoint}?later`], topics: ["later.child"] };
    const { isConnected } = useWSE(mine === undefined ? config : { ...config, token: mine });
    useEffect(mounted, []);
    return <p aria-label="child">{String(isConnected)}</p>;
  }
  function Parent({ children }: { children?: ReactNode }) {
    const { isConnected, activeTopics } = useWSE(expired, ["later.parent"], { endpoints: [`${endpoint}?later`], refreshAuthToken });
    return <div><p aria-label="up">{`${isConnected} ${activeTopics.join()}`}</p>{children}</div>;
  }
  show(<Parent />);
  await expect.poll(() => text("up")).toBe("true later.parent");
  expect(sockets).toHaveLength(2);
  show(<Parent><Child /></Parent>);
  await expect.poll(() => text("up")).toBe("true later.parent,later.child");
  mounted.mockClear();
  show(<Parent><Child key="again" mine={expired} /></Parent>);
  await expect.poll(() => mounted.mock.calls.length).toBeGreaterThan(0);
  await expect.poll(() => text("child")).toBe("true");
  expect(sockets).toHaveLength(2);
  expect(sockets[1]!.readyState).toBe(1);
  expect(refreshAuthToken).toHaveBeenCalledTimes(1);
});

test("of components that are mounted at once the one with the token counts", async () => {
  const mine = await token("ann");
  function Child() {
    return <p aria-label="up">{String(useWSE({ endpoints: [`${endpoint}?at-once`] }).isConnected)}</p>;
  }
  function Parent() {
    useWSE(mine, ["at-once"], { endpoints: [`${endpoint}?at-once`] });
    return <Child />;
  }
  show(<Parent />);
  await expect.poll(() => text("up")).toBe("true");
  expect(sockets).toHaveLength(1);
  expect(sockets[0]!.protocol).toBe("bearer");
});

test("a component without a token does not go on with that of one who has logged out", async () => {
  const mine = await token("ann");
  const config = { endpoints: [`${endpoint}?out`], topics: ["out"] };
  let client: WSEClient | undefined;
  function Public() {
    const wse = useWSE(config);
    client = wse.client;
    return <p aria-label="up">{String(wse.isConnected)}</p>;
  }
  function Member() {
    useWSE(mine, [], config);
    return null;
  }
  show(<div><Member key="member" /><Public key="public" /></div>);
  await expect.poll(() => text("up")).toBe("true");
  expect(asked).toEqual([["bearer", mine]]);
  // Without a token this gateway takes nobody.
  show(<div><Public key="public" /></div>);
  await expect.poll(() => asked.length).toBeGreaterThan(1);
  show(<div />);
  await expect.poll(() => client?.store.getState().connectionState).toBe("pending");
  const before = asked.length;
  show(<div><Public key="later" /></div>);
  await expect.poll(() => asked.length).toBeGreaterThan(before);
  expect(asked.slice(1).every((protocols) => protocols === undefined)).toBe(true);
});

test("a component is rendered for what it reads alone", async () => {
  const mine = await token("ann");
  const renders = { status: 0, last: 0 };
  function Status() {
    const { isConnected } = useWSE(mine, ["renders"], { endpoints: [endpoint] });
    renders.status++;
    return <p aria-label="up">{String(isConnected)}</p>;
  }
  function Last() {
    const { lastMessage } = useWSE(mine, ["renders"], { endpoints: [endpoint] });
    renders.last++;
    return <p aria-label="last">{lastMessage?.p.n}</p>;
  }
  root.render(<><Status /><Last /></>);
  await expect.poll(() => text("up")).toBe("true");
  const [status, last] = [renders.status, renders.last];
  const other = await publisher();
  for (let n = 1; n <= 300; n++) other.send("publish", { topic: "renders", type: "n", data: { n } });
  await expect.poll(() => text("last")).toBe("300");
  expect(renders.status).toBe(status);
  expect(renders.last).toBeGreaterThan(last);
  other.stop();
});

test("effects may depend on the functions, whatever else is read", async () => {
  const mine = await token("ann");
  let effects = 0;
  function Reads() {
    const { subscribe, unsubscribe, sendMessage, metrics, activeTopics, connectionState } = useWSE(mine, [], { endpoints: [endpoint] });
    useEffect(() => {
      effects++;
      subscribe(["depends"]);
      return () => unsubscribe(["depends"]);
    }, [subscribe, unsubscribe, sendMessage]);
    return <p aria-label="reads">{`${connectionState} ${activeTopics.join()} ${metrics.messagesReceived > 20}`}</p>;
  }
  root.render(<Reads />);
  await expect.poll(() => text("reads")).toContain("connected depends");
  const other = await publisher();
  for (let n = 1; n <= 30; n++) other.send("publish", { topic: "depends", type: "n", data: { n } });
  await expect.poll(() => text("reads")).toBe("connected depends true");
  expect(effects).toBe(1);
  other.stop();
});

test("many events reach a bounded list, each of them", async () => {
  const mine = await token("ann");
  const total = 900;
  let seen = 0;
  function List() {
    useWSE(mine, ["many"], { endpoints: [endpoint] });
    const [list, setList] = useState<number[]>([]);
    const sum = useRef(0);
    useEffect(() => {
      const handler = (event: Event) => {
        sum.current += (event as CustomEvent).detail.n;
        seen = sum.current;
        setList((before) => [...before, (event as CustomEvent).detail.n].slice(-50));
      };
      window.addEventListener("many_n", handler);
      return () => window.removeEventListener("many_n", handler);
    }, []);
    return <p aria-label="list">{list.join(" ")}</p>;
  }
  show(<List />);
  await expect.poll(() => useWSEStore.getState().connectionState === "connected" || sockets.some(({ readyState }) => readyState === 1)).toBe(true);
  const other = await publisher();
  for (let n = 1; n <= total; n++) other.send("publish", { topic: "many", type: "many_n", data: { n } });
  await expect.poll(() => seen).toBe((total * (total + 1)) / 2);
  await expect.poll(() => text("list")?.split(" ")).toEqual(Array.from({ length: 50 }, (_, i) => String(total - 49 + i)));
  other.stop();
});

test("events merge into the cache of React Query", async () => {
  const mine = await token("ann");
  // What the example of the README uses of a QueryClient.
  const cache = new Map<string, any>([["orders", [{ id: 1, state: "new" }]]]);
  const queryClient = {
    setQueryData: ([key]: string[], update: (old: any) => any) => void cache.set(key!, update(cache.get(key!))),
    getDefaultOptions: () => ({}),
    setDefaultOptions: vi.fn(),
    invalidateQueries: vi.fn(),
  };
  let quality: ConnectionQuality = "unknown";
  function Orders() {
    const { isConnected, diagnostics } = useWSE(mine, ["orders"], { endpoints: [`${endpoint}?orders`], queryClient });
    quality = diagnostics?.quality ?? "unknown";
    useEffect(() => {
      const merge = (event: Event) => {
        const order = (event as CustomEvent).detail;
        queryClient.setQueryData(["orders"], (old: { id: number }[] = []) => [...old.filter(({ id }) => id !== order.id), order]);
      };
      window.addEventListener("order_update", merge);
      return () => window.removeEventListener("order_update", merge);
    }, []);
    return <p aria-label="up">{String(isConnected)}</p>;
  }
  show(<Orders />);
  await expect.poll(() => text("up")).toBe("true");
  const other = await publisher();
  other.send("publish", { topic: "orders", type: "order_update", data: { id: 1, state: "paid" } });
  await expect.poll(() => cache.get("orders")).toEqual([{ id: 1, state: "paid" }]);
  // Both at once: a slow round trip changes the quality.
  const isAdapted = () => queryClient.setDefaultOptions.mock.lastCall?.[0].queries.staleTime === QUALITY_STRATEGIES[quality].staleTime;
  await expect.poll(() => quality !== "unknown" && isAdapted()).toBe(true);
  other.stop();
});

test("the configuration alone is enough, and the stores are there outside of components", async () => {
  const mine = await token("ann");
  function Alone() {
    const { isConnected, connectionState, sendMessage, subscribe, unsubscribe, lastMessage, metrics, diagnostics } = useWSE({ token: mine, topics: ["alone"], endpoints: [endpoint] });
    const waiting = useMessageQueueStore((state) => state.size);
    void [connectionState, subscribe, unsubscribe, lastMessage, diagnostics];
    return (
      <button aria-label="alone" onClick={() => sendMessage("publish", { topic: "alone", type: "alone_n", data: 1 })}>
        {String(isConnected)} {metrics.successfulConnections} {waiting}
      </button>
    );
  }
  show(<Alone />);
  await expect.poll(() => text("alone")).toMatch(/^true \d+ 0$/);
  const came = new Promise((done) => window.addEventListener("alone_n", done, { once: true }));
  await userEvent.click(place.querySelector("button")!);
  expect(((await came) as CustomEvent).detail).toEqual({ data: 1 });
  expect(useWSEStore.getState().isConnected()).toBe(true);
  expect(useMessageQueueStore.getState().capacity).toBe(10_000);
});

test("encryption works with the browser's own cryptography", async () => {
  const mine = await token("ann");
  function Sealed() {
    const { isConnected, client } = useWSE(mine, ["sealed"], { endpoints: [`${endpoint}?sealed`], security: { encryptionEnabled: true, encryptionRequired: true } });
    return <p aria-label="up">{String(isConnected && client.connection.isEncrypted())}</p>;
  }
  show(<Sealed />);
  await expect.poll(() => text("up")).toBe("true");
  const came = new Promise((done) => window.addEventListener("sealed_n", done, { once: true }));
  const other = await publisher();
  other.send("publish", { topic: "sealed", type: "sealed_n", data: { n: 1 } });
  expect(((await came) as CustomEvent).detail).toEqual({ n: 1 });
  other.stop();
});

test("a network that is back is used at once", async () => {
  const own = await commands.startGateway();
  const client = new WSEClient([`${own}/wse`], { WebSocket: Native, eventTarget: new EventTarget(), reconnection: { baseDelay: 600_000, maxDelay: 600_000 } });
  client.start();
  await expect.poll(() => client.connection.isReady()).toBe(true);
  await commands.killGateway(own);
  await expect.poll(() => client.connection.state).toBe("reconnecting");
  await commands.restartGateway(own);
  window.dispatchEvent(new Event("online"));
  await expect.poll(() => client.connection.isReady()).toBe(true);
  client.stop();
  await commands.stopGateway(own);
});

test("IndexedDB gives each message once, with those that have expired, and none that was removed", async () => {
  const storage = await openIndexedDb(`queue${Math.random()}`);
  const message = (id: string, expires = Infinity, payload: unknown = { id }) => ({ id, type: "x", payload, priority: 5, timestamp: 1, expires });
  await storage.put("ann", [message("a"), message("b", 10), message("c"), message("d", Infinity, () => {})]);
  await storage.put("bob", [message("e"), message("f", 10)]);
  await storage.remove(new Set(["a", "x"]));
  const taken = await storage.takeAll("ann", 10);
  expect(taken.map(({ id, payload }) => [id, payload])).toEqual([["b", { id: "b" }], ["c", { id: "c" }], ["d", null]]);
  expect(await storage.takeAll("ann", 10)).toEqual([]);
  expect((await storage.takeAll("bob", 0)).map(({ id }) => id)).toEqual(["e"]);
  storage.close();
});

test("what is sent without a connection outlives the page in IndexedDB, and goes once", async () => {
  const own = await commands.startGateway();
  const page = () => new WSEClient([`${own}/wse`], { WebSocket: Native, eventTarget: new EventTarget(), reconnection: { baseDelay: 20, maxDelay: 100 } });
  await commands.killGateway(own);
  const first = page();
  first.start();
  for (let n = 1; n <= 3; n++) first.send("publish", { topic: "kept", type: "n", data: { n } });
  await new Promise((done) => setTimeout(done, 100));
  first.stop();

  await commands.restartGateway(own);
  const got: number[] = [];
  const reader = page();
  reader.on("n", ({ p }) => got.push(p.n));
  reader.subscribe(["kept"]);
  // Two pages at once: one of them sends.
  const second = page();
  reader.start();
  await expect.poll(() => reader.connection.isReady()).toBe(true);
  second.start();
  await expect.poll(() => got).toEqual([1, 2, 3]);
  await expect.poll(() => second.connection.isReady()).toBe(true);
  second.send("publish", { topic: "kept", type: "n", data: { n: 4 } });
  await expect.poll(() => got).toEqual([1, 2, 3, 4]);
  for (const client of [reader, second]) client.stop();
  await commands.stopGateway(own);
});
