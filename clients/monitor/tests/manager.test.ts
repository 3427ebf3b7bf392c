import { afterEach, beforeEach, expect, test } from "vitest";
import WebSocket from "ws";
import { FakeGateway } from "../../js/tests/support/fake.js";
import { type ManagerOptions, WebSocketManager } from "../src/manager/index";

let fake: FakeGateway;
let manager: WebSocketManager;

beforeEach(async () => {
  fake = await FakeGateway.start();
});
afterEach(async () => {
  manager.dispose();
  await fake.stop();
});

/** A manager of the fake gateway, and the states that it went through, each once. */
function start(options: ManagerOptions = {}): string[] {
  manager = new WebSocketManager({ url: fake.url, WebSocket, retryMin: 20, retryMax: 40, latencyInterval: 0, ...options });
  const states: string[] = [manager.state];
  manager.onChange(() => manager.state === states.at(-1) || states.push(manager.state));
  return states;
}

const until = async (check: () => boolean) => {
  if (check()) return;
  await new Promise<void>((done) => {
    const off = manager.onChange(() => {
      if (!check()) return;
      off();
      done();
    });
  });
};
const isOpen = () => manager.state === "OPEN";

/** Takes the next connection, greets it and answers the ping that confirms it. */
async function accept() {
  const link = await fake.link();
  link.greet();
  const ping = await link.next("ping");
  link.say({ type: "pong", id: ping.id });
  return link;
}

test("it goes from CONNECTING to OPEN, and through CLOSED when the connection is lost", async () => {
  const states = start();
  expect(manager.status).toMatchObject({ endpoint: fake.url, queueLength: 0, reconnects: 0, latencies: [] });
  const link = await accept();
  await until(isOpen);
  expect(manager.status.openSince).toBeTypeOf("number");
  link.cut();
  await until(() => manager.state === "CLOSED");
  expect(manager.status.retryAt).toBeTypeOf("number");
  expect(manager.status.error?.message).toBe("Connection lost (1006)");
  await accept();
  await until(isOpen);
  expect(states).toEqual(["CONNECTING", "OPEN", "CLOSED", "CONNECTING", "OPEN"]);
  expect(manager.status.reconnects).toBe(1);
  expect(manager.status.error).toBeUndefined();
});

test("what is sent before it is open waits in the queue, in its order", async () => {
  start();
  const answers = ["start", "stop"].map((command) =>
    manager.send({ type: "agent_command", data: { command, agent_id: "a1" } }),
  );
  expect(manager.status.queueLength).toBe(2);
  const link = await accept();
  for (const command of ["start", "stop"]) {
    const message = await link.next("agent_command");
    expect(message.data.command).toBe(command);
    link.say({ type: "agent_command_result", id: message.id, command, agent_id: "a1", status: "acknowledged" });
  }
  expect((await Promise.all(answers)).map(({ command }) => command)).toEqual(["start", "stop"]);
  expect(manager.status.queueLength).toBe(0);
});

test("a refusal rejects and leaves the queue", async () => {
  start();
  const answer = manager.send({ type: "agent_command", data: { command: "explode", agent_id: "a1" } });
  const link = await accept();
  const { id } = await link.next("agent_command");
  link.say({ type: "error", id, code: "INVALID_COMMAND", message: "Invalid command: explode" });
  await expect(answer).rejects.toMatchObject({ code: "INVALID_COMMAND", message: "Invalid command: explode" });
  expect(manager.status.queueLength).toBe(0);
});

test("a round trip is measured", async () => {
  start();
  const link = await accept();
  await until(isOpen);
  const measured = manager.measure();
  const again = manager.measure();
  const ping = await link.next("ping");
  link.say({ type: "pong", id: ping.id });
  await Promise.all([measured, again]);
  expect(manager.status.latencies).toEqual([expect.any(Number)]);
});

test("a latency is that of now: not of a connection that is lost, nor where an answer does not come", async () => {
  start();
  const link = await accept();
  await until(isOpen);
  const measured = manager.measure();
  const ping = await link.next("ping");
  link.say({ type: "pong", id: ping.id });
  await measured;
  expect(manager.status.latency).toBe(manager.status.latencies[0]);
  link.cut();
  await until(() => manager.state === "CLOSED");
  expect(manager.status.latency).toBeUndefined();
  expect(manager.status.latencies).toHaveLength(1);
  manager.dispose();

  start({ latencyInterval: 20 });
  const silent = await accept();
  const first = await silent.next("ping");
  silent.say({ type: "pong", id: first.id });
  await until(() => manager.status.latency !== undefined);
  await silent.next("ping");
  await until(() => manager.status.latency === undefined);
  expect(manager.state).toBe("OPEN");
});

test("disconnected it stays so until it is told to connect", async () => {
  start();
  await accept();
  await until(isOpen);
  manager.disconnect();
  expect(manager.status).toMatchObject({ state: "CLOSED" });
  expect(manager.status.retryAt).toBeUndefined();
  expect(manager.status.error).toBeUndefined();
  manager.reconnect();
  await accept();
  await until(isOpen);
});
