// One Chromium for a file of tests, the system's unless FANFARE_CHROMIUM names another.
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";
import { afterAll, beforeAll } from "vitest";

let browser: Browser;

beforeAll(async () => {
  browser = await chromium.launch({ executablePath: process.env["FANFARE_CHROMIUM"] ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
});
afterAll(() => browser.close());

/** A page, and what its console said that is an error: a refusal by the policy is one. `hasClock`: `page.clock` moves its time. */
export async function open(url: string, options: BrowserContextOptions = {}, hasClock = false): Promise<{ page: Page; errors: string[] }> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(10_000);
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("pageerror", (error) => errors.push(String(error)));
  // It runs as any until a test moves it on.
  if (hasClock) await page.clock.install();
  await page.goto(url);
  return { page, errors };
}
