import { afterEach, expect, test } from "vitest";
import { panel, rows, stage, strike, violations } from "./support/stage";

afterEach(strike);

test("states of equal names are as many as were published, however they change places", async () => {
  const { page, gateway } = await stage();
  const states = panel(page, "Belief state").getByRole("list", { name: "States of scout-1" }).getByRole("listitem");
  const shown = () => expect.poll(async () => (await states.allInnerTexts()).map((text) => text.split(/\s+/).slice(0, 2).join(" ")));
  const publish = (a: number, b: number, other: number) =>
    gateway.publish("belief.state", { agent_id: "scout-1", beliefs: [a, b, other], labels: ["door", "door", "wall"] });
  await publish(0.5, 0.3, 0.2);
  await shown().toEqual(["door 50.0", "door 30.0", "wall 20.0"]);
  await publish(0.1, 0.2, 0.7);
  await shown().toEqual(["wall 70.0", "door 20.0", "door 10.0"]);
  await publish(0.35, 0.25, 0.4);
  await shown().toEqual(["wall 40.0", "door 35.0", "door 25.0"]);
});

test("an event that is chosen is laid out once, whatever else is drawn", async () => {
  const { page, gateway } = await stage();
  await gateway.publish("large", { numbers: [1, 2, 3] });
  const large = rows(page).filter({ hasText: "large" });
  await large.waitFor();
  await page.evaluate(() => {
    const { parse } = JSON;
    const counted = { parses: 0 };
    JSON.parse = (text, ...more) => {
      if (text === '{"numbers":[1,2,3]}') counted.parses += 1;
      return parse(text, ...more);
    };
    Object.assign(window, { counted_: counted });
  });
  await large.click();
  await page.getByRole("complementary", { name: "Chosen event" }).getByText('"numbers": [').waitFor();
  for (const i of [1, 2, 3]) {
    await gateway.publish("other", i);
    await expect.poll(() => rows(page).filter({ hasText: "other" }).count()).toBe(i);
  }
  expect(await page.evaluate(() => (window as any).counted_.parses)).toBe(1);
});

test("whatever scrolls does so by keyboard, in every browser: it can be focused, or something in it can", async () => {
  const { page, gateway } = await stage();
  for (let i = 0; i < 12; i++) {
    await gateway.publish("agent.update", { agent_id: `agent-${i}`, status: "active" });
    await gateway.publish("belief.state", { agent_id: `agent-${i}`, beliefs: { open: 0.7, closed: 0.3 } });
    await gateway.publish("news", Array.from({ length: 100 }, (_, n) => n));
  }
  await expect.poll(() => rows(page).count()).toBeGreaterThan(12);
  await rows(page).filter({ hasText: "news" }).first().click();
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    const scrollers = await page.evaluate(() => {
      const scrolls = (element: Element) => /auto|scroll/.test(getComputedStyle(element).overflowY) && element.scrollHeight > element.clientHeight;
      const canFocus = (element: Element) => element.matches("[tabindex='0'], button, input, select, a[href]");
      const found = [...document.querySelectorAll("main *")].filter(scrolls);
      return found.map((element) => [element.className || element.tagName, canFocus(element) || [...element.querySelectorAll("*")].some(canFocus)]);
    });
    expect([width, scrollers]).toEqual([width, [["agents", true], ["beliefs", true], ["list", true], ["PRE", true]]]);
  }
  expect(await violations(page)).toEqual([]);
  const beliefs = page.getByRole("list", { name: "Beliefs" });
  await beliefs.focus();
  await page.keyboard.press("End");
  await expect.poll(() => beliefs.evaluate((list) => list.scrollTop)).toBeGreaterThan(0);
});
