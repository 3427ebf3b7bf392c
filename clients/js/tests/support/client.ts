// Clients of tests in Node: quick to come back, closed after each test, and with what they report kept.
import { afterEach } from "vitest";
import WebSocket from "ws";
import { type Client, type Options, type State, connect } from "../../src/core/index.js";

const clients: Client[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
});

/** What the client has reported as `error`. */
export const errors = new WeakMap<Client, unknown[]>();

export function client(url: string, options: Options = {}): Client {
  const made = connect(url, { WebSocket, retryMin: 20, retryMax: 100, ...options });
  const reported: unknown[] = [];
  made.on("error", (error) => reported.push(error));
  errors.set(made, reported);
  clients.push(made);
  return made;
}

/** Waits until the client is in a state. */
export async function state(client: Client, wanted: State): Promise<void> {
  if (client.state === wanted) return;
  await new Promise<void>((done) => {
    const off = client.on("state", ({ state }) => {
      if (state !== wanted) return;
      off();
      done();
    });
  });
}

/** Waits until something is so, for as long as the test may take. */
export async function until(check: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await check())) await new Promise((done) => setTimeout(done, 5));
}
