// What tests in a browser can have done outside of it, as `commands.startGateway()` of `vitest/browser`.
import type { BrowserCommand } from "vitest/node";
import { Gateway, type GatewayOptions, token } from "./gateway.js";

const gateways = new Map<string, Gateway>();

/** Starts a gateway and gives its address, `ws://127.0.0.1:port`, which names it in the other commands. */
export const startGateway: BrowserCommand<[options?: GatewayOptions]> = async (_, options) => {
  const gateway = await Gateway.start(options);
  gateways.set(gateway.url, gateway);
  return gateway.url;
};

export const stopGateway: BrowserCommand<[url: string]> = async (_, url) => {
  await gateways.get(url)?.stop();
  gateways.delete(url);
};

/** Ends it as a crash does. {@link restartGateway} brings it back. */
export const killGateway: BrowserCommand<[url: string]> = async (_, url) => gateways.get(url)?.stop("SIGKILL");

export const restartGateway: BrowserCommand<[url: string]> = async (_, url) => gateways.get(url)?.start();

/** A token of a user, as `token()` of `gateway.js`. */
export const makeToken: BrowserCommand<[user: string, claims?: Record<string, unknown>]> = (_, user, claims) =>
  token(user, claims);

/** How long the publishing of 10,000 numbers takes, in milliseconds; FANFARE_LONG=1 makes it 10 s. */
const NUMBERS_MS = process.env["FANFARE_LONG"] ? 10_000 : 3000;

/** Publishes `{ n }` to the topic `numbers`, for each number from `first` to before `end`, evenly, ten at a time. */
export const publishNumbers: BrowserCommand<[url: string, first: number, end: number]> = async (_, url, first, end) => {
  const gateway = gateways.get(url)!;
  const begun = performance.now();
  for (let n = first; n < end; n += 10) {
    const events = Array.from({ length: 10 }, (_, i) => ({ event: "numbers", data: { n: n + i } }));
    await gateway.post("/api/v1/events/batch", events);
    const wait = begun + ((n + 10 - first) / 10_000) * NUMBERS_MS - performance.now();
    if (wait > 1) await new Promise((done) => setTimeout(done, wait));
  }
};

declare module "vitest/browser" {
  interface BrowserCommands {
    startGateway(options?: GatewayOptions): Promise<string>;
    stopGateway(url: string): Promise<void>;
    killGateway(url: string): Promise<void>;
    restartGateway(url: string): Promise<void>;
    makeToken(user: string, claims?: Record<string, unknown>): Promise<string>;
    publishNumbers(url: string, first: number, end: number): Promise<void>;
  }
}
