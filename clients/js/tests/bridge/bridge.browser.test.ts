// A user of the bridge in a page.
import { expect, test } from "vitest";
import { commands } from "vitest/browser";
import { connectUser, createService } from "../../src/bridge/index.js";

test("a page is asked, and answers in parts", async () => {
  const gateway = await commands.startGateway();
  const user = connectUser(`${gateway}/ws`, { user: "alice" });
  user.on("message", ({ data, answer, finish }) => {
    void answer({ heard: data.message });
    void finish({ message: "Yes" });
  });
  await new Promise<void>((done) => user.on("state", ({ state }) => state === "open" && done()));
  const got: any[] = [];
  const service = createService(gateway.replace("ws", "http"));
  for await (const answer of service.ask("alice", { message: "Deploy?" })) got.push(answer);
  expect(got).toMatchObject([{ heard: "Deploy?" }, { message: "Yes", is_final: true }]);
  user.close();
  await commands.stopGateway(gateway);
});
