import { afterAll, beforeAll, expect, test } from "vitest";
import WebSocket from "ws";
import { FakeGateway } from "../support/fake.js";
import { Gateway } from "../support/gateway.js";

let gateway: Gateway;
beforeAll(async () => void (gateway = await Gateway.start()));
afterAll(() => gateway.stop());

test("a gateway greets", async () => {
  const socket = new WebSocket(`${gateway.url}/api/v1/ws/demo`);
  const first = await new Promise<string>((done) => socket.on("message", (data) => done(String(data))));
  expect(JSON.parse(first)).toMatchObject({ type: "connection_established" });
  socket.close();
});

test("a fake one says anything", async () => {
  const fake = await FakeGateway.start();
  const socket = new WebSocket(fake.url);
  const link = await fake.link();
  const first = new Promise<string>((done) => socket.on("message", (data) => done(String(data))));
  link.greet();
  expect(await first).toContain("connection_established");
  socket.send('{"type":"ping"}');
  expect(await link.next()).toEqual({ type: "ping" });
  socket.close();
  await link.closed;
  await fake.stop();
});
