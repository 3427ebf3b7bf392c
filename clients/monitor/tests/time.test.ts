import { afterEach, expect, test } from "vitest";
import { panel, stage, state, strike } from "./support/stage";

afterEach(strike);

/** How a computer's sleep passes for a page: its timers are late, all of them. */
const SLEEP = "04:00";

test("what passes while the computer sleeps is not said to be seen", async () => {
  const { page } = await stage({ hasClock: true });
  const strip = page.locator("#connection .history svg");
  const bars = panel(page, "Events").locator(".bars");
  const labelOf = async (element: typeof strip) => (await element.getAttribute("aria-label")) ?? "";
  await expect.poll(() => labelOf(strip)).toMatch(/^Open for [1-9]\d* seconds? of the last \d+ seconds?$/);
  await expect.poll(() => labelOf(bars)).toMatch(/^Events a second over the last minute: highest \d+, \d+ seconds not seen$/);
  await page.clock.fastForward(SLEEP);
  await expect.poll(() => labelOf(strip)).toMatch(/^Open for \d\d? seconds? of the last 2[4-9]\d seconds, 24[01] not seen$/);
  await page.getByText("grey: not seen, the page was asleep").waitFor();
  await expect.poll(() => labelOf(bars)).toMatch(/, [45]\d seconds not seen$/);
  await state(page, "OPEN");
});
