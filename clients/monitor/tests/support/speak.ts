// A page in prod mode whose gateway the test speaks for: it says what a real one seldom does.
import type { Page } from "playwright-core";
import { FakeGateway, type Link } from "../../../js/tests/support/fake.js";
import { open } from "./browser";
import { serve } from "./server";
import { state } from "./stage";

export interface Spoken {
  readonly page: Page;
  readonly link: Link;
}

const ends: (() => Promise<void>)[] = [];

/** The page is open and has a token; its four subscriptions are confirmed. */
export async function speak(): Promise<Spoken> {
  const fake = await FakeGateway.start();
  const server = await serve(fake);
  const { page } = await open(`${server.url}#token=a-token`);
  ends.push(async () => {
    await page.context().close();
    await server.stop();
    await fake.stop();
  });
  const link = await fake.link();
  await link.open();
  await state(page, "OPEN");
  return { page, link };
}

/** To be called after each test. */
export async function silence(): Promise<void> {
  for (const end of ends.splice(0)) await end();
}
