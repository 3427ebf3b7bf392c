// What listeners do to the client that tells them.
import { afterEach, beforeEach, expect, test } from "vitest";
import { client, state } from "../support/client.js";
import { FakeGateway, type Link } from "../support/fake.js";

let fake: FakeGateway;
beforeEach(async () => void (fake = await FakeGateway.start()));
afterEach(() => fake.stop());

async function open(): Promise<Link> {
  const link = await fake.link();
  link.greet();
  link.say({ type: "pong", id: (await link.next("ping")).id });
  return link;
}

test("close() by a listener of `error` closes", async () => {
  const one = client(fake.url);
  const told = new Promise((done) =>
    one.on("error", (error) => {
      one.close();
      done(error);
    }),
  );
  const link = await open();
  await state(one, "open");
  link.say("nonsense");
  expect(await told).toMatchObject({ code: "BROKEN_FRAME" });
  await link.closed;
  expect(one.status).toMatchObject({ state: "closed", error: { code: "CLOSED" } });
  expect(fake.links).toHaveLength(1);
});

test("reconnect() by a listener of `error` connects at once", async () => {
  const one = client(fake.url, { retryMin: 3_600_000, retryMax: 3_600_000 });
  one.on("error", () => one.reconnect());
  const link = await open();
  link.say("nonsense");
  await open();
  await state(one, "open");
});
