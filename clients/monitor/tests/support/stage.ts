// A gateway, the page of it, and what a test does with both.
import axe from "axe-core";
import type { BrowserContextOptions, Page } from "playwright-core";
import { Gateway, type GatewayOptions } from "../../../js/tests/support/gateway.js";
import { open } from "./browser";
import { type Server, serve } from "./server";

export interface Stage {
  readonly gateway: Gateway;
  readonly server: Server;
  readonly page: Page;
  /** What the console said that is an error. */
  readonly errors: string[];
}

const stages: Stage[] = [];

export interface StageOptions {
  gateway?: GatewayOptions;
  context?: BrowserContextOptions;
  /** Whether the test moves the page's time, by `page.clock`. */
  hasClock?: boolean;
  /** What comes behind the page's address. */
  address?: string;
  /** Whether to wait until it is connected. */
  isOpen?: boolean;
}

export async function stage({ gateway: options, context, hasClock, address = "", isOpen = true }: StageOptions = {}): Promise<Stage> {
  const gateway = await Gateway.start(options);
  const server = await serve(gateway);
  const { page, errors } = await open(server.url + address, context, hasClock);
  stages.push({ gateway, server, page, errors });
  if (isOpen) await state(page, "OPEN");
  return stages.at(-1)!;
}

/** To be called after each test. */
export async function strike(): Promise<void> {
  for (const { gateway, server, page } of stages.splice(0)) {
    await page.context().close();
    await server.stop();
    await gateway.stop();
  }
}

/** Waits until the connection is in a state. */
export const state = (page: Page, wanted: string) => page.locator(`#connection .state:text-is("${wanted}")`).waitFor();

export const panel = (page: Page, name: string) => page.getByRole("region", { name, exact: true });
/** The lines of the list of events that are drawn. */
export const rows = (page: Page) => page.getByRole("listbox", { name: "Events, newest first" }).getByRole("option");

/** What axe finds wrong with the page, with the elements. */
export async function violations(page: Page): Promise<string[]> {
  if (!(await page.evaluate("'axe' in window"))) await page.evaluate(axe.source);
  return page.evaluate(async () => {
    const { violations } = await (window as any).axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, nodes }: any) => `${id}: ${nodes.map(({ html }: any) => html).join(" | ")}`);
  });
}

/** Publishes what each panel shows. */
export async function fill({ gateway }: Stage): Promise<void> {
  await gateway.publish("agent.update", { agent_id: "scout-1", name: "Scout", type: "explorer", status: "active" });
  await gateway.publish("agent.update", { agent_id: "guard-3", status: "failed" });
  await gateway.publish("belief.state", { agent_id: "scout-1", beliefs: { open: 0.7, closed: 0.3 } });
  await gateway.publish("news", { hello: "world" });
}
