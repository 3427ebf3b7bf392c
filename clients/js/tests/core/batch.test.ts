// Messages with an `id` of their own, which go in a batch: the client's id is then the batch's.
import { afterAll, beforeAll, expect, test } from "vitest";
import { createService } from "../../src/bridge/index.js";
import type { Client, Frame } from "../../src/core/index.js";
import { client } from "../support/client.js";
import { Gateway, SECRET, token } from "../support/gateway.js";

let gateway: Gateway;
beforeAll(async () => void (gateway = await Gateway.start({ settings: { AUTH__JWT_SECRET: SECRET } })));
afterAll(() => gateway.stop());

/** As README.md has it. */
async function send(client: Client, message: Frame): Promise<unknown> {
  const taken = new AbortController();
  const refused = client.request({ type: "batch", messages: [message] }, { signal: taken.signal });
  return Promise.race([refused, client.request({ type: "ping" })]).finally(() => taken.abort());
}

test("a user of the events protocol answers a question of the bridge", async () => {
  const one = client(`${gateway.url}/api/v1/ws`, { token: token("ann") });
  const inbox = one.inbox<{ message: string; correlation_id: string }>();
  const sent = new Promise((done) =>
    inbox.on("event", ({ data: { correlation_id, message } }) => {
      const answer = (data: string, more = {}) => send(one, { type: "response", id: correlation_id, data, ...more });
      done(answer(`I have read: ${message}`, { is_final: false }).then(() => answer("Yes")));
    }),
  );
  await inbox.ready();
  const got: unknown[] = [];
  for await (const answer of createService(gateway.http).ask("ann", { message: "Deploy?" })) got.push(answer);
  expect(got).toMatchObject([
    { data: "I have read: Deploy?", is_final: false },
    { data: "Yes", is_final: true },
  ]);
  expect(await sent).toMatchObject({ type: "pong" });
});

test("what a message of a batch is answered comes as `message`; the batch is answered only if it is refused", async () => {
  const one = client(`${gateway.url}/api/v1/ws/demo`);
  const answers: Frame[] = [];
  one.on("message", (message) => answers.push(message));
  const message = { type: "query", id: "mine", params: { query: "server_info" } };
  expect(await send(one, message)).toMatchObject({ type: "pong" });
  expect(answers).toMatchObject([{ type: "response", id: "mine", result: { name: "fanfare" } }]);
  const refused = one.request({ type: "batch", messages: "none" });
  await expect(Promise.race([refused, one.request({ type: "ping" })])).rejects.toMatchObject({ code: "INVALID_MESSAGE" });
});
