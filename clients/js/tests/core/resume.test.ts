// Where subscriptions go on: places that overlap, that are none, and that are of a connection before.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Gap, Subscription, TopicEvent } from "../../src/core/index.js";
import { client, until } from "../support/client.js";
import { FakeGateway, type Link } from "../support/fake.js";

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
});
