import { readFile } from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import { fill, panel, rows, stage, strike } from "./support/stage";

afterEach(strike);

test("each panel shows what was published, over one connection", async () => {
  const own = await stage();
  const { page, gateway, errors } = own;
  const metrics = panel(page, "System metrics");
  await metrics.getByRole("img", { name: "Connections over time: now 1, lowest 1, highest 1" }).waitFor();
  await metrics.getByRole("img", { name: "Subscriptions over time: now 4, lowest 4, highest 4" }).waitFor();
  await fill(own);

  const agents = panel(page, "Agents");
  await agents.getByRole("button", { name: /Scout scout-1 · explorer active agent.update/ }).waitFor();
  await agents.getByRole("button", { name: /guard-3 failed agent.update/ }).waitFor();
  await panel(page, "Belief state").getByText("70.0 %").waitFor();
  expect(await panel(page, "Belief state").getByRole("listitem").filter({ hasText: "closed" }).last().innerText()).toContain("30.0 %");
  await rows(page).filter({ hasText: "news" }).filter({ hasText: '{"hello":"world"}' }).waitFor();

  const connection = panel(page, "Connection");
  await connection.getByText("demo", { exact: true }).waitFor();
  await connection.getByText(own.server.url.replace("http", "ws").replace("/monitor/", "/api/v1/ws/demo")).waitFor();
  await connection.getByRole("img", { name: /^Latency of the last \d+ round trips?: now \d/ }).waitFor();
  // The next reading gives a rate.
  await metrics.getByRole("img", { name: /^Messages a second: [\d.]+ in and [\d.]+ out now/ }).waitFor();
  const health = await gateway.get("/health");
  expect(health.connections).toBe(1);
  expect(await metrics.locator(".panel-aside").innerText()).toMatch(/^[\d,]+ messages? in, [\d,]+ out/);
  expect(errors).toEqual([]);
});

test("commands go to agents, and a refusal is said plainly", async () => {
  const own = await stage();
  await fill(own);
  const agents = panel(own.page, "Agents");
  await agents.getByRole("button", { name: /Scout/ }).click();
  await agents.getByRole("combobox", { name: "Command" }).selectOption("restart");
  await agents.getByRole("button", { name: "Send" }).click();
  await agents.getByText(/^restart scout-1: acknowledged after \d+ ms$/).waitFor();
  await agents.getByRole("combobox", { name: "Agent" }).fill("no agent");
  await agents.getByRole("button", { name: "Send" }).click();
  await agents.getByText(/1 to 128 letters, digits/).waitFor();
});

test("an empty panel says what fills it, and does so", async () => {
  const { page } = await stage();
  for (const name of ["Agents", "Belief state"]) {
    const empty = panel(page, name);
    await empty.getByText(/^curl -s http:\/\/127.0.0.1:\d+\/api\/v1\/events -d '{"event":"(agent.update|belief.state)"/).waitFor();
    await empty.getByRole("button", { name: "Publish this example" }).click();
    await empty.getByRole("list").first().waitFor();
  }
  await panel(page, "Belief state").getByRole("img", { name: /Certainty over the last 3 events/ }).waitFor();
});

test("events are filtered, paused, copied, exported and cleared", async () => {
  const own = await stage({ context: { permissions: ["clipboard-read", "clipboard-write"] } });
  const { page, gateway } = own;
  const events = panel(page, "Events");
  await fill(own);
  await rows(page).nth(3).waitFor();

  await events.getByLabel("Filter").fill("HELLO");
  await expect.poll(() => rows(page).allInnerTexts()).toHaveLength(1);
  await events.getByRole("button", { name: "Pause" }).click();
  await gateway.publish("news", { hello: "again" });
  await gateway.publish("news", { other: 1 });
  await events.getByRole("button", { name: "Resume (1 new)" }).waitFor();
  expect(await rows(page).count()).toBe(1);
  await events.getByRole("button", { name: "Resume (1 new)" }).click();
  await expect.poll(() => rows(page).count()).toBe(2);

  await events.getByRole("button", { name: "Copy", exact: true }).click();
  await events.getByText("2 lines copied.").waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const download = page.waitForEvent("download");
  await events.getByRole("button", { name: "Export" }).click();
  const exported = await readFile((await (await download).path())!, "utf8");
  expect(exported).toBe(copied);
  const lines = exported.split("\n").map((line) => JSON.parse(line));
  expect(lines.map(({ event, data }) => [event, data])).toEqual([["news", { hello: "world" }], ["news", { hello: "again" }]]);

  await events.getByLabel("Filter").fill("nothing like it");
  await events.getByText(/None of the newest 2,000 events/).waitFor();
  await events.getByLabel("Filter").fill("");
  await expect.poll(() => rows(page).count()).toBeGreaterThan(4);
  await events.getByRole("button", { name: "Clear" }).click();
  await expect.poll(() => rows(page).count()).toBeLessThan(3);
  expect(own.errors).toEqual([]);
});

test("other topics are followed where they are named", async () => {
  const { page, gateway } = await stage();
  const events = panel(page, "Events");
  await events.getByLabel("Topics").fill("orders, chat.*, orders");
  await events.getByLabel("Topics").press("Enter");
  const names = async () => Object.keys((await gateway.get("/api/v1/ws/subscriptions")).subscriptions).sort();
  await expect.poll(names).toEqual(["agent.*", "belief.*", "chat.*", "orders", "system.metrics"]);
  await gateway.publish("news", 1);
  await gateway.publish("chat.room", 2);
  await gateway.publish("orders", 3);
  await expect.poll(() => rows(page).allInnerTexts()).toHaveLength(2);
  await events.getByLabel("Topics").fill("*, orders, order*");
  await events.getByRole("button", { name: "Apply" }).click();
  await expect.poll(names).toEqual(["*", "agent.*", "belief.*", "order*", "orders", "system.metrics"]);
  await gateway.publish("orders", 4);
  await gateway.publish("orders", 5);
  await expect.poll(async () => (await rows(page).allInnerTexts()).filter((text) => text.includes("orders"))).toHaveLength(3);
});

test("a broadcast is shown as one", async () => {
  const { page, gateway } = await stage();
  await fetch(`${gateway.http}/api/v1/events`, { method: "POST", body: JSON.stringify({ event: "notice", data: "at six", broadcast: true }) });
  await page.locator(".row.broadcast").filter({ hasText: "notice" }).waitFor();
});
