import { afterAll, beforeAll, expect, test } from "vitest";
import { commands } from "vitest/browser";

let url: string;
beforeAll(async () => void (url = await commands.startGateway()));
afterAll(() => commands.stopGateway(url));

test("a browser reaches a gateway", async () => {
  const socket = new WebSocket(`${url}/api/v1/ws/demo`);
  const first = await new Promise<MessageEvent>((done) => (socket.onmessage = done));
  expect(JSON.parse(first.data)).toMatchObject({ type: "connection_established" });
  socket.close();
});
