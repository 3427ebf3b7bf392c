// Where there is no IndexedDB.
import { expect, test } from "vitest";
import { openQueue } from "../../src/queue/index.js";
import { client } from "../support/client.js";
import { Gateway } from "../support/gateway.js";

test("without IndexedDB a publication is refused, and nothing else happens", async () => {
  const gateway = await Gateway.start();
  const one = client(`${gateway.url}/api/v1/ws`);
  const queue = openQueue(one);
  queue.on("error", (error) => expect.unreachable(String(error)));
  await one.query("server_info");
  await expect(queue.publish("news", 1)).rejects.toMatchObject({ code: "NO_STORAGE" });
  queue.close();
  await gateway.stop();
});
