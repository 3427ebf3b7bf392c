import { afterEach, expect, test } from "vitest";
import { panel, stage, state, strike, violations } from "./support/stage";

afterEach(strike);

/** How a computer's sleep passes for a page: its timers are late, all of them. */
const SLEEP = "04:00";

test("what passes while the computer sleeps is not said to be seen", async () => {
  const { page } = await stage({ hasClock: true });
  const strip = page.locator("#connection .history svg");
  const bars = panel(page, "Events").locator(".bars");
  const label = (element: typeof strip) => expect.poll(async () => (await element.getAttribute("aria-label")) ?? "", { timeout: 10_000 });
  await label(strip).toMatch(/^Open for [1-9]\d* seconds? of the last \d+ seconds?$/);
  await label(bars).toMatch(/^Events a second over the last minute: highest \d+, \d+ seconds not seen$/);
  await page.clock.fastForward(SLEEP);
  await label(strip).toMatch(/^Open for \d\d? seconds? of the last 2[4-9]\d seconds, 24\d not seen$/);
  await page.getByText("grey: not seen, the page was asleep").waitFor();
  await label(bars).toMatch(/, [45]\d seconds not seen$/);
  await state(page, "OPEN");
});

test("readings of before an outage are not shown as those of now", async () => {
  const { page, gateway } = await stage({ hasClock: true });
  const metrics = panel(page, "System metrics");
  const now = metrics.getByRole("img", { name: /^Connections over time: now 1,/ });
  await now.waitFor();
  await gateway.stop("SIGKILL");
  await metrics.getByText(/^The last reading came \d+ s ago$/).waitFor();
  await metrics.getByRole("img", { name: /^Connections over time: last 1,/ }).waitFor();
  await page.clock.fastForward("30:00");
  await metrics.getByText(/^The last reading came 30 min( \d+ s)? ago$/).waitFor();
  await metrics.getByText("No rate is known of this time.").waitFor();
  expect(await violations(page)).toEqual([]);
  await gateway.start();
  // It may have come back by itself.
  await panel(page, "Connection").getByRole("button", { name: /^(Connect now|Reconnect)$/ }).click();
  await state(page, "OPEN");
  await now.waitFor();
  await metrics.getByText(/since the start$/).waitFor();
});

test("a latency of before the page was hidden is not shown as that of now", async () => {
  const { page } = await stage({ hasClock: true });
  const latency = panel(page, "Connection").getByText("Latency", { exact: true }).locator("..").getByRole("definition");
  await latency.getByText(/ms$/).waitFor();
  await page.evaluate(() => Object.defineProperty(document, "hidden", { value: true, configurable: true }));
  await page.clock.fastForward("00:05");
  await latency.getByText("–").waitFor();
  await panel(page, "Connection").getByRole("img", { name: /^Latency of the last \d+ round trips?: none now, highest / }).waitFor();
  await page.evaluate(() => {
    delete (document as { hidden?: boolean }).hidden;
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await latency.getByText(/ms$/).waitFor();
});
