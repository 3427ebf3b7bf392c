import { afterEach, expect, test } from "vitest";
import { SECRET, token } from "../../js/tests/support/gateway.js";
import { open } from "./support/browser";
import { serve } from "./support/server";
import { panel, rows, stage, state, strike, violations } from "./support/stage";

afterEach(strike);

test("a connection that is cut comes back, and nothing is lost", async () => {
  const { page, gateway, server } = await stage();
  await gateway.publish("news", 1);
  await rows(page).filter({ hasText: "news" }).waitFor();
  server.cut();
  await gateway.publish("news", 2);
  await panel(page, "Connection").getByText("Reconnects").locator("..").getByText("1", { exact: true }).waitFor();
  await state(page, "OPEN");
  await expect.poll(async () => (await rows(page).filter({ hasText: "news" }).allInnerTexts()).map((text) => text.split("\n").at(-1))).toEqual(["2", "1"]);
});

test("a restart of the gateway is a gap, told as one", async () => {
  const { page, gateway } = await stage();
  await gateway.publish("news", 1);
  await rows(page).filter({ hasText: "news" }).waitFor();
  await gateway.stop("SIGKILL");
  await page.locator("#connection .notice").getByText(/Tries again/).waitFor();
  await gateway.start();
  // It may have come back by itself.
  await panel(page, "Connection").getByRole("button", { name: /^(Connect now|Reconnect)$/ }).click();
  await state(page, "OPEN");
  await page.locator(".row.gap").first().waitFor();
});

test("disconnected by the operator it stays so", async () => {
  const { page, gateway } = await stage();
  await page.getByRole("button", { name: "Disconnect" }).click();
  await state(page, "CLOSED");
  await page.getByText("Disconnected by you.").waitFor();
  await expect.poll(async () => (await gateway.get("/health")).connections).toBe(0);
  await page.getByRole("button", { name: "Connect now" }).click();
  await state(page, "OPEN");
});

const prod = { mode: "prod", settings: { AUTH__JWT_SECRET: SECRET } } as const;

test("prod: it asks for a token, says that one is wrong, and takes a right one", async () => {
  const { page, errors } = await stage({ gateway: prod, isOpen: false });
  await page.getByText("This gateway wants a valid token.").waitFor();
  const field = page.getByLabel("Token");
  await expect.poll(() => field.evaluate((element) => element === document.activeElement)).toBe(true);
  expect(await violations(page)).toEqual([]);
  await field.fill("nonsense");
  await field.press("Enter");
  await page.getByText("This gateway does not take that token.").waitFor();
  await field.fill(token("ann"));
  await field.press("Enter");
  await state(page, "OPEN");
  await panel(page, "Connection").getByText("ann", { exact: true }).waitFor();
  await panel(page, "Connection").getByText("prod", { exact: true }).waitFor();
  // A token that does not cover everything.
  await panel(page, "Events").getByText(/refuses a subscription to \*/).waitFor();
  await page.getByRole("button", { name: "Publish this example" }).first().click();
  await page.getByText(/^Not published: /).waitFor();
  expect(await violations(page)).toEqual([]);
  await page.reload();
  await state(page, "OPEN");
  await page.getByRole("button", { name: "Forget it" }).click();
  await page.getByText("This gateway wants a valid token.").waitFor();
  expect(await panel(page, "Connection").getByText("ann", { exact: true }).count()).toBe(0);
  expect(await page.evaluate(() => [sessionStorage.length, localStorage.length])).toEqual([0, 0]);
  expect(errors.filter((error) => /policy/i.test(error))).toEqual([]);
});

test("prod: a token in the page's address is used, and taken out of it", async () => {
  const { page, server } = await stage({ gateway: prod, address: `#token=${token("ann")}` });
  expect(page.url()).toBe(server.url);
});

test("prod: so is one that is put into the address of the page when it is open", async () => {
  const { page, server } = await stage({ gateway: prod, isOpen: false });
  await page.getByText("This gateway wants a valid token.").waitFor();
  const use = async (user: string) => {
    await page.evaluate((fragment) => void (location.hash = fragment), `#token=${token(user)}`);
    await panel(page, "Connection").getByText(user, { exact: true }).waitFor();
    expect(page.url()).toBe(server.url);
  };
  await use("ann");
  await use("ben");
  await page.evaluate(() => void (location.hash = "#events"));
  await state(page, "OPEN");
  expect(page.url()).toBe(`${server.url}#events`);
});

test("a gateway that cannot be reached is said to be so", async () => {
  const server = await serve({ port: 1 });
  const { page } = await open(server.url);
  await page.getByText(/The gateway cannot be reached/).waitFor();
  await page.context().close();
  await server.stop();
});
