import { afterEach, expect, test } from "vitest";
import { panel, rows, stage, strike } from "./support/stage";

afterEach(strike);

test("5,000 events a second: all are counted, few are drawn, and the page answers meanwhile", async () => {
  const { page, gateway, errors } = await stage();
  const batch = JSON.stringify(Array.from({ length: 500 }, (_, i) => ({ event: `load.${i % 10}`, data: { i, text: "some text of an event" } })));
  const BATCHES = 30;
  await page.evaluate(() => {
    const frames = { count: 0 };
    Object.assign(window, { frames_: frames });
    const draw = () => {
      frames.count += 1;
      requestAnimationFrame(draw);
    };
    draw();
  });
  const begun = Date.now();
  for (let i = 0; i < BATCHES; i++) {
    const answer = await fetch(`${gateway.http}/api/v1/events/batch`, { method: "POST", body: batch });
    expect(answer.status).toBe(202);
    if (i === BATCHES / 2) {
      // Each click waits until the page has taken it.
      await panel(page, "Events").getByRole("button", { name: "Pause" }).click();
      await panel(page, "Events").getByRole("button", { name: /^Resume/ }).click();
    }
    const left = begun + 100 * (i + 1) - Date.now();
    if (left > 0) await new Promise((done) => setTimeout(done, left));
  }
  const aside = panel(page, "Events").locator(".rate");
  const total = async () => Number(/([\d,]+) in all/.exec(await aside.innerText())?.[1]?.replace(",", ""));
  // All, and readings of the metrics.
  await expect.poll(total, { timeout: 20_000 }).toBeGreaterThanOrEqual(500 * BATCHES);
  expect(await rows(page).count()).toBeLessThan(40);
  expect(Number(await rows(page).first().getAttribute("aria-setsize"))).toBe(2000);
  // A page that is frozen draws one or two.
  expect(await page.evaluate(() => (window as any).frames_.count)).toBeGreaterThan(20);
  expect(errors).toEqual([]);
});
