import { afterEach, expect, test } from "vitest";
import { fill, rows, stage, strike, violations } from "./support/stage";

afterEach(strike);

test("all of it works by keyboard", async () => {
  const own = await stage();
  const { page } = own;
  await fill(own);
  await rows(page).nth(3).waitFor();
  await page.keyboard.press("Tab");
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe("Skip to the events");

  // Everything that can be operated is reached.
  const wanted = await page.locator("button:enabled, input:not([type=radio]), select, [role=listbox]").count();
  const reached = new Set<string>();
  for (let i = 0; i < 2 * wanted; i++) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => {
      const focused = document.activeElement as HTMLElement;
      const style = getComputedStyle(focused.matches("[type=radio]") ? focused.parentElement! : focused);
      if (focused !== document.body && style.outlineStyle === "none") throw new Error(`no outline: ${focused.outerHTML}`);
      return [...document.querySelectorAll("*")].indexOf(focused) + focused.tagName;
    });
    reached.add(name);
  }
  expect(reached.size).toBeGreaterThanOrEqual(wanted);

  await page.getByRole("listbox", { name: "Events, newest first" }).focus();
  await page.keyboard.press("ArrowDown");
  const chosen = page.getByRole("complementary", { name: "Chosen event" });
  await chosen.getByText('"hello": "world"').waitFor();
  await page.keyboard.press("ArrowDown");
  await chosen.getByText("belief.state").waitFor();
  expect(await page.getByRole("listbox", { name: "Events, newest first" }).getAttribute("aria-activedescendant")).toBe(await page.locator(".row[aria-selected=true]").getAttribute("id"));
  await page.keyboard.press("End");
  await page.keyboard.press("Home");
  await chosen.getByText('"hello": "world"').waitFor();
  await page.keyboard.press("Escape");
  expect(await page.locator(".row[aria-selected=true]").count()).toBe(0);

  await page.getByRole("radio", { name: "As the system" }).focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
  await page.reload();
  expect(await page.evaluate(() => document.documentElement.dataset["theme"])).toBe("dark");
});

test("nothing is wrong for screen readers, too faint or too wide: empty and full, light and dark, wide and narrow", async () => {
  const own = await stage({ context: { reducedMotion: "reduce" } });
  const { page } = own;
  const check = async (content: string) => {
    for (const colorScheme of ["light", "dark"] as const) {
      for (const width of [1280, 360]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 800 });
        const widest = await page.evaluate(() => document.documentElement.scrollWidth);
        expect([content, colorScheme, width, widest, await violations(page)]).toEqual([content, colorScheme, width, width, []]);
      }
    }
  };
  await check("empty");
  await fill(own);
  await rows(page).nth(3).waitFor();
  await rows(page).first().click();
  await page.getByRole("button", { name: /Scout/ }).click();
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("status scout-1: acknowledged").waitFor();
  await check("full");
  expect(await page.locator(".bar i").first().evaluate((bar) => getComputedStyle(bar).transitionDuration)).toBe("0s");
});
