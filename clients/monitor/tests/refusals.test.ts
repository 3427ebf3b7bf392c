import type { Page } from "playwright-core";
import { afterEach, expect, test } from "vitest";
import { panel, rows, stage, strike, violations } from "./support/stage";
import { silence, speak } from "./support/speak";

afterEach(strike);
afterEach(silence);

async function follow(page: Page, topics: string): Promise<void> {
  const events = panel(page, "Events");
  await events.getByLabel("Topics").fill(topics);
  await events.getByRole("button", { name: "Apply" }).click();
}

const notices = (page: Page) => expect.poll(async () => (await panel(page, "Events").locator(".notice").allInnerTexts()).sort());

const BAD_NAME = "The gateway refuses a subscription to news/sport. A topic's name has 1 to 128 letters, digits and _ . : -; in a pattern a * is a whole segment or the end.";
const FULL = "The gateway has as many topics as it may; try again later";

test("a limit and a name that cannot be are said to be the reasons, and what has room again is followed", async () => {
  const { page, gateway } = await stage({ gateway: { settings: { EVENTS__MAX_SUBSCRIPTIONS: "5" } } });
  await follow(page, "*, one, two, news/sport");
  await notices(page).toEqual([BAD_NAME, "The gateway refuses a subscription to two. At most 5 subscriptions."]);
  expect(await violations(page)).toEqual([]);
  await follow(page, "*, two");
  await notices(page).toEqual([]);
  await expect.poll(async () => Object.keys((await gateway.get("/api/v1/ws/subscriptions")).subscriptions)).toContain("two");
});

test("the gateway's reason is shown, whether it comes before or behind its answer", async () => {
  const { page, link } = await speak();
  const refuse = async (isBefore: boolean) => {
    const { id } = await link.next("subscribe");
    const reason = { type: "error", id, code: "TOPIC_LIMIT", message: FULL };
    if (isBefore) link.say(reason);
    link.say({ type: "subscription_confirmed", id, events: [], rejected: ["full", "news/sport"], topics: {} });
    if (!isBefore) link.say(reason);
  };
  const expected = [`The gateway refuses a subscription to full. ${FULL}.`, BAD_NAME];
  await follow(page, "*, full, news/sport");
  await refuse(true);
  await notices(page).toEqual(expected);
  await follow(page, "*, full, news/sport, *");
  await refuse(false);
  await rows(page).filter({ hasText: "TOPIC_LIMIT" }).waitFor();
  await notices(page).toEqual(expected);
  // A refusal that has no reason is one of permissions.
  await follow(page, "*, full");
  const { id } = await link.next("subscribe");
  link.say({ type: "subscription_confirmed", id, events: [], rejected: ["full"], topics: {} });
  await notices(page).toEqual(["The gateway refuses a subscription to full. Take a token whose permissions cover it."]);
});

for (const [reason, said] of [["Token expired", "The token has expired."], ["Token revoked", "The token has been revoked."]] as const) {
  test(`"${reason}" is said to be so`, async () => {
    const { page, link } = await speak();
    link.close(4002, reason);
    await panel(page, "Connection").getByText(said, { exact: true }).waitFor();
    await expect.poll(() => page.getByLabel("Token").evaluate((field) => field === document.activeElement)).toBe(true);
  });
}

test("an example that is published is said to be so, in place of an earlier failure", async () => {
  const { page, link } = await speak();
  const agents = panel(page, "Agents");
  const said = agents.locator(".teach [role=status]");
  const publish = agents.getByRole("button", { name: "Publish this example" });
  await publish.click();
  const { id } = await link.next("publish");
  link.say({ type: "error", id, code: "FORBIDDEN", message: "Only services publish" });
  await said.getByText("Not published: Only services publish").waitFor();
  await publish.click();
  for (let i = 1; i <= 3; i++) {
    const asked = await link.next("publish");
    await expect.poll(() => said.innerText()).toBe("");
    link.say({ type: "response", id: asked.id, result: { offset: i } });
  }
  await said.getByText("Published to agent.update.").waitFor();
});
