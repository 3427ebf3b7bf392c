// What tests in a browser can have done outside of it, as `commands.startGateway()` of `vitest/browser`.
import type { BrowserCommand } from "vitest/node";
import { Gateway, type GatewayOptions } from "./gateway.js";

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

declare module "vitest/browser" {
  interface BrowserCommands {
    startGateway(options?: GatewayOptions): Promise<string>;
    stopGateway(url: string): Promise<void>;
    killGateway(url: string): Promise<void>;
    restartGateway(url: string): Promise<void>;
  }
}
