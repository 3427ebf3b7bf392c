// What listeners do to the client that tells them.
import { afterEach, beforeEach, expect, test } from "vitest";
import { client, errors, state, until } from "../support/client.js";
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

test.each(["ended", "closed"] as const)("what a listener asks for when the client has %s is asked for", async (end) => {
  const one = client(fake.url, { token: "old" });
  const link = await open();
  await state(one, "open");
  const before = one.publish("news", 1);
  before.catch(() => {});
  await link.next("publish");
  let after: Promise<number> | undefined;
  one.on("state", ({ state }) => {
    if (state !== end) return;
    one.authenticate("new");
    after = one.publish("news", 2);
    after.catch(() => {});
  });
  if (end === "closed") one.close();
  else link.close(4401, "Authentication failed");
  await expect(before).rejects.toMatchObject({ code: end === "closed" ? "CLOSED" : "AUTHENTICATION_FAILED" });
  const next = await open();
  expect(next.headers["sec-websocket-protocol"]).toBe("bearer,new");
  const sent = await next.next("publish");
  expect(sent.data).toBe(2);
  next.say({ type: "response", id: sent.id, result: { offset: 7 } });
  expect(await after).toBe(7);
});

test("close() by a listener of a gap that is told while a message is made sends nothing", async () => {
  const one = client(fake.url);
  const flowing = one.subscribe("a");
  const link = await fake.link();
  link.greet();
  link.confirm(await link.next("subscribe"), { a: { epoch: 5, offset: 10 } });
  await flowing.ready();
  const thrown: unknown[] = [];
  const listener = (error: unknown) => thrown.push(error);
  process.on("uncaughtException", listener);
  try {
    // Two places that cannot be compared.
    const saved = one.subscribe("a", { since: "sse:c1" });
    saved.on("event", () => {});
    saved.on("gap", () => one.close());
    await link.closed;
    await until(() => one.state === "closed");
    expect(thrown).toEqual([]);
    expect(errors.get(one)).toEqual([]);
  } finally {
    process.off("uncaughtException", listener);
  }
});
