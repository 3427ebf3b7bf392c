// Where subscriptions go on: places that overlap, that are none, and that are of a connection before.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Gap, Subscription, TopicEvent } from "../../src/core/index.js";
import { client, errors, state, until } from "../support/client.js";
import { FakeGateway, type Link } from "../support/fake.js";
import { Gateway } from "../support/gateway.js";

/** What a subscription gets, as text, in its order. */
function note(sub: Subscription<any>, items: string[] = []): string[] {
  const add = ({ type, topic, ...item }: Gap | TopicEvent) =>
    items.push(type === "gap" ? `${sub.name}: gap of ${topic}` : `${sub.name}: ${topic} ${item.data}`);
  sub.on("event", add);
  sub.on("gap", add);
  return items;
}

describe("against a gateway that says anything", () => {
  let fake: FakeGateway;
  beforeEach(async () => void (fake = await FakeGateway.start()));
  afterEach(() => fake.stop());

  async function greeted(more: object = {}): Promise<Link> {
    const link = await fake.link();
    link.greet(more);
    return link;
  }

  const none = { recovered: true, count: 0 };

  test("a pattern is none of the topics of another one that covers it", async () => {
    const one = client(fake.url);
    const items: string[] = [];
    const wide = one.subscribe("*");
    note(wide, items);
    note(one.subscribe("agent.*"), items);
    const first = await greeted();
    const place = (offset: number) => ({ epoch: 9, offset });
    first.confirm(await first.next("subscribe"), { "*": place(100), "agent.*": place(100) });
    first.event("agent.1", 1, 1);
    await until(() => items.length === 2);
    expect(JSON.parse(wide.position!)).toEqual({ "*": "9-100", "agent.1": "1-1" });
    first.cut();
    const second = await greeted();
    const asked = await second.next("subscribe");
    second.confirm(asked, {
      "*": { ...place(200), ...none },
      "agent.*": { ...place(200), ...none },
      "agent.1": { epoch: 1, offset: 1, ...none },
    });
    second.event("agent.1", 2, 2);
    await until(() => items.length >= 4);
    expect(items).toEqual(["*: agent.1 1", "agent.*: agent.1 1", "*: agent.1 2", "agent.*: agent.1 2"]);
    // A gap of it is one of both all the same.
    second.say({ type: "gap", event: "agent.*", lost: null });
    await until(() => items.length >= 6);
    expect(items.slice(4)).toEqual(["*: gap of agent.*", "agent.*: gap of agent.*"]);
  });

  /** A client that has lost its connection, with a pattern at the tenth event of `room.1`. */
  async function cutBehind10() {
    const one = client(fake.url);
    const items = note(one.subscribe("room.*"));
    const first = await greeted();
    first.confirm(await first.next("subscribe"), { "room.*": { epoch: 9, offset: 100 } });
    first.event("room.1", 10, 10);
    await until(() => items.length === 1);
    first.cut();
    await state(one, "waiting");
    return { one, items };
  }

  test("a topic that is also called for by name goes on where its pattern is", async () => {
    const { one, items } = await cutBehind10();
    note(one.subscribe("room.1"), items);
    const second = await greeted();
    const asked = await second.next("subscribe");
    expect(asked.recover).toEqual({ "room.*": { epoch: "9", offset: "100" }, "room.1": { epoch: "1", offset: "10" } });
    second.confirm(asked, {
      "room.*": { epoch: 9, offset: 200, ...none },
      "room.1": { epoch: 1, offset: 12, recovered: true, count: 2 },
    });
    for (const n of [11, 12, 13]) second.event("room.1", n, n);
    await until(() => items.length >= 5);
    expect(items).toEqual([10, 11, 12, 13].map((n) => `room.*: room.1 ${n}`).concat("room.1: room.1 13"));
  });

  test.each([{ last: 2 }, { since: "1-5" }])("unless it says itself where: %j", async (from) => {
    const { one } = await cutBehind10();
    one.subscribe("room.1", from);
    const { recover } = await (await greeted()).next("subscribe");
    expect(recover["room.1"]).toEqual(from.last ? from : { epoch: "1", offset: "5" });
  });

  const nonsense = ["undefined", "null", "NaN", "7", "[object Object]", "1-", "-1-5", "1-5x", '{"a.*":7}', "{", " "];

  test.each(["a", "a.*"].flatMap((name) => nonsense.map((since) => [name, since] as const)))(
    "%s from %j, which is no place, begins with a gap",
    async (name, since) => {
      const one = client(fake.url);
      const sub = one.subscribe(name, { since });
      const items = note(sub);
      const link = await greeted();
      const asked = await link.next("subscribe");
      expect(asked.recover).toEqual({});
      link.confirm(asked);
      await sub.ready();
      expect(items).toEqual([`${name}: gap of ${name}`]);
      expect(errors.get(one)).toEqual([]);
    },
  );

  test("of a saved position what is none is left out, and the rest counts", async () => {
    const one = client(fake.url);
    one.subscribe("a.*", { since: '{"a.*":"7-1","a.x":"undefined","a.y":null,"a.z":"5-3"}' });
    const { recover } = await (await greeted()).next("subscribe");
    expect(recover).toEqual({ "a.*": { epoch: "7", offset: "1" }, "a.z": { epoch: "5", offset: "3" } });
  });

  test.each(nonsense)("an inbox from %j, which is no place, is one without, and begins with a gap", async (since) => {
    const one = client(fake.url, { token: "t" });
    const inbox = one.inbox({ since });
    const items = note(inbox);
    const link = await greeted({ user: "ann" });
    expect(new URL(link.path, "http://x").searchParams.get("inbox_after")).toBe(null);
    await inbox.ready();
    expect(items).toEqual(["user::events: gap of user::events"]);
  });

  test("an inbox hears what is also subscribed to by its name", async () => {
    const one = client(fake.url, { token: "t" });
    const items: string[] = [];
    note(one.inbox(), items);
    note(one.subscribe("user:ann:events"), items);
    const link = await greeted({ user: "ann" });
    link.confirm(await link.next("subscribe"));
    link.event("user:ann:events", 1, 1);
    link.say({ type: "gap", event: "user:ann:events", lost: 3 });
    await until(() => items.length >= 4);
    expect(items).toEqual([
      "user::events: user:ann:events 1",
      "user:ann:events: user:ann:events 1",
      "user::events: gap of user:ann:events",
      "user:ann:events: gap of user:ann:events",
    ]);
  });

  test("the longest names and places are no message that is too large", async () => {
    const one = client(fake.url);
    const place = `${"9".repeat(19)}-${"9".repeat(19)}`;
    const names = Array.from({ length: 500 }, (_, n) => String(n).padEnd(128, "x"));
    for (const name of names) one.subscribe(name, { since: place });
    const link = await greeted();
    for (let count = 0; count < names.length; ) {
      const asked = await link.next("subscribe");
      expect(Object.keys(asked.recover)).toHaveLength(asked.events.length);
      expect(JSON.stringify(asked).length).toBeLessThanOrEqual(65_536);
      count += asked.events.length;
      link.confirm(asked);
    }
  });

  test("patterns are called for behind topics, which go on from their places", async () => {
    const one = client(fake.url);
    one.subscribe("room.*");
    const names = Array.from({ length: 250 }, (_, n) => `room.${n}`);
    for (const name of names) one.subscribe(name, { since: "1-0" });
    const link = await greeted();
    const events: string[] = [];
    while (events.length <= names.length) {
      const asked = await link.next("subscribe");
      events.push(...asked.events);
      link.confirm(asked);
    }
    expect(events).toEqual([...names, "room.*"]);
  });

  test("a topic that begins anew keeps its place before those that came later", async () => {
    const one = client(fake.url);
    const items = note(one.subscribe("a"));
    const link = await greeted();
    link.confirm(await link.next("subscribe"), { a: { epoch: 1, offset: 5 } });
    await state(one, "open");
    // One is what the gateway allows.
    const [second, other] = [one.subscribe("a", { since: "1-4" }), one.subscribe("b")];
    note(second, items);
    const asked = await link.next("subscribe");
    expect(asked.events).toEqual(["a", "b"]);
    link.say({ type: "error", id: asked.id, code: "SUBSCRIPTION_LIMIT", message: "-", details: { limit: 1 } });
    link.say({
      type: "subscription_confirmed",
      id: asked.id,
      events: ["a"],
      topics: { a: { epoch: 1, offset: 5, recovered: true, count: 1 } },
    });
    await second.ready();
    await expect(other.ready()).rejects.toMatchObject({ code: "SUBSCRIPTION_LIMIT" });
  });

  test.each([
    ["itself", (own: Subscription) => own],
    ["another", (_: Subscription, other: Subscription) => other],
  ])("what a listener of a gap ends, %s, hears no more of it", async (_, which) => {
    const one = client(fake.url);
    const since = '{"a.*":"7-1","a.x":"1-1","a.y":"1-1"}';
    const [sub, other] = [one.subscribe("a.*", { since }), one.subscribe("a.*", { since })];
    const ended = which(sub, other);
    sub.on("event", () => {});
    sub.on("gap", () => ended.unsubscribe());
    const items = note(ended);
    const link = await greeted();
    const asked = await link.next("subscribe");
    // Two gaps, which it tells by itself.
    const place = { epoch: 2, offset: 9 };
    link.confirm(asked, { "a.*": { epoch: 7, offset: 9, ...none }, "a.x": place, "a.y": place });
    link.say({ type: "gap", event: "a.*", lost: null });
    link.say({ type: "broadcast" });
    await new Promise<void>((done) => one.on("message", () => done()));
    expect(ended.state).toBe("ended");
    expect(items).toEqual(ended === sub ? ["a.*: gap of a.x"] : []);
  });

  test("a pattern whose place was forgotten goes on from its new one, and not from that of a lost connection", async () => {
    const one = client(fake.url);
    const sub = one.subscribe("a.*", { since: '{"a.*":"7-100","a.x":"1-10"}' });
    let count = 0;
    sub.on("event", () => (count += 1));
    sub.on("gap", () => {});
    const first = await greeted();
    first.confirm(await first.next("subscribe"), {
      "a.*": { epoch: 7, offset: 200, ...none },
      "a.x": { epoch: 1, offset: 11, recovered: true, count: 1 },
    });
    // What a.x missed does not come. Others are so many that the pattern's own place is forgotten.
    for (let n = 0; n < 999; n++) first.event(`a.${n}`, 1, n);
    await until(() => count === 999);
    expect(sub.position).toBeUndefined();
    first.cut();
    const second = await greeted();
    second.confirm(await second.next("subscribe"), { "a.*": { epoch: 7, offset: 300 } });
    await sub.ready();
    expect(JSON.parse(sub.position!)["a.*"]).toBe("7-300");
  });
});

describe("against a gateway", () => {
  let gateway: Gateway;
  beforeEach(async () => void (gateway = await Gateway.start({ settings: { HUB__HISTORY_SIZE: "1000" } })));
  afterEach(() => gateway.stop());

  test("patterns beside each other, and names beside them, come back without a gap", async () => {
    const one = client(`${gateway.url}/api/v1/ws/demo`, { retryMin: 60_000, retryMax: 60_000 });
    const items: string[] = [];
    const subs = ["*", "agent.*"].map((name) => one.subscribe(name));
    for (const sub of subs) note(sub, items);
    await Promise.all(subs.map((sub) => sub.ready()));
    await gateway.publish("agent.1", 1);
    await until(() => items.length === 2);
    one.close();
    await gateway.publish("agent.1", 2);
    const named = one.subscribe("agent.1");
    note(named, items);
    one.reconnect();
    await Promise.all([...subs, named].map((sub) => sub.ready()));
    await gateway.publish("agent.1", 3);
    await until(() => items.includes("agent.1: agent.1 3"));
    const of = (name: string) => items.filter((item) => item.startsWith(`${name}: `)).map((item) => item.slice(name.length + 2));
    for (const name of ["*", "agent.*"]) expect(of(name)).toEqual([1, 2, 3].map((n) => `agent.1 ${n}`));
    expect(of("agent.1")).toEqual(["agent.1 3"]);
    // The narrower one is called for again beside the wider one.
    subs[1]!.unsubscribe();
    const again = one.subscribe("agent.*");
    await again.ready();
    await gateway.publish("agent.1", 4);
    await until(() => items.includes("*: agent.1 4"));
    expect(items.filter((item) => item.includes("gap"))).toEqual([]);
  });

  test("what a pattern has already does not begin again: that is a gap, to both", async () => {
    const one = client(`${gateway.url}/api/v1/ws/demo`);
    const items: string[] = [];
    const wide = one.subscribe("room.*");
    note(wide, items);
    await wide.ready();
    for (const n of [1, 2, 3]) await gateway.publish("room.1", n);
    await until(() => items.length === 3);
    const named = one.subscribe("room.1", { last: 2 });
    note(named, items);
    await named.ready();
    await gateway.publish("room.1", 4);
    await until(() => items.includes("room.1: room.1 4"));
    expect(items.slice(3).sort()).toEqual([
      "room.*: gap of room.1",
      "room.*: room.1 4",
      "room.1: gap of room.1",
      "room.1: room.1 4",
    ]);
    // What is asked for instead.
    const { events } = await one.query("history", { event: "room.1", limit: 2 });
    expect(events.map(({ data }: { data: number }) => data)).toEqual([3, 4]);
  });
});
