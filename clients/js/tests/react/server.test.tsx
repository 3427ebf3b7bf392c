// Rendering on a server: nothing connects, and everything shows what it shows first.
import { StrictMode } from "react";
import { renderToString } from "react-dom/server";
import { afterEach, expect, test, vi } from "vitest";
import { FanfareProvider, useClient, useInbox, usePresence, usePublish, useStatus, useSubscription } from "../../src/react/index.js";

afterEach(() => vi.unstubAllGlobals());

function Everything() {
  const { events, state } = useSubscription("news");
  const { value } = useSubscription("news", { reduce: (sum: number) => sum + 1, initial: 7 });
  const inbox = useInbox();
  const { users, count } = usePresence("room.1");
  usePublish("news");
  return [events.length, state, value, inbox.state, users.length, count, useStatus().state, useClient().state].join();
}

const expected = "0,pending,7,pending,0,0,connecting,closed";

test.each(["/api/v1/ws", "wss://gateway.example/api/v1/ws"])("with %s nothing is connected", async (url) => {
  const made: string[] = [];
  vi.stubGlobal("WebSocket", class { constructor(url: string) { made.push(url); } });
  const page = <StrictMode><FanfareProvider url={url}><Everything /></FanfareProvider></StrictMode>;
  expect(renderToString(page)).toBe(expected);
  await new Promise((done) => setImmediate(done));
  expect(made).toEqual([]);
});

test("without a WebSocket as well", () => {
  vi.stubGlobal("WebSocket", undefined);
  expect(renderToString(<FanfareProvider url="/api/v1/ws"><Everything /></FanfareProvider>)).toBe(expected);
});

test("without a provider it says what is missing", () => {
  expect(() => renderToString(<Everything />)).toThrow("There is no <FanfareProvider> around this component");
});
