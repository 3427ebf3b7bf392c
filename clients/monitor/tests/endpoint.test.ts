import { expect, test } from "vitest";
import { endpointOf, modeOf } from "../src/manager/index";
import { findGateway } from "../src/model/gateway";

test("an empty address is the demo endpoint of the page's host", () => {
  for (const url of [undefined, "", "  "]) {
    expect(endpointOf(url, undefined, "http://host:8000")).toBe("ws://host:8000/api/v1/ws/demo");
  }
  expect(endpointOf("", "prod", "https://host")).toBe("wss://host/api/v1/ws");
  expect(endpointOf("", "dev", "https://host/monitor/?mode=dev#events")).toBe("wss://host/api/v1/ws/dev");
});

test("a host alone has the endpoint of the mode, a path stays", () => {
  expect(endpointOf("wss://host")).toBe("wss://host/api/v1/ws/demo");
  expect(endpointOf("https://host/", "prod")).toBe("wss://host/api/v1/ws");
  expect(endpointOf("ws://host:8000/api/v1/ws/dev", "prod")).toBe("ws://host:8000/api/v1/ws/dev");
  expect(endpointOf("/api/v1/ws", "demo", "https://host")).toBe("wss://host/api/v1/ws");
});

test("what is no address is refused", () => {
  for (const url of ["ftp://host", "ws://", "javascript:alert(1)"]) expect(() => endpointOf(url)).toThrow(TypeError);
});

test("an address says its mode", () => {
  expect(modeOf("ws://host/api/v1/ws/demo")).toBe("demo");
  expect(modeOf("ws://host/api/v1/ws/dev?format=json")).toBe("dev");
  expect(modeOf("ws://host/api/v1/ws")).toBe("prod");
});

test("a copy that is served elsewhere belongs to the gateway that it was built for", async () => {
  const find = (query: string, built: string) => findGateway(new URL(`https://pages.example/monitor/${query}`), built);
  expect(await find("", "wss://gateway.example")).toEqual({ mode: "demo", endpoint: "wss://gateway.example/api/v1/ws/demo" });
  expect(await find("?mode=prod", "wss://gateway.example")).toEqual({ mode: "prod", endpoint: "wss://gateway.example/api/v1/ws" });
  expect(await find("?mode=none", "wss://gateway.example/api/v1/ws/dev")).toEqual({ mode: "dev", endpoint: "wss://gateway.example/api/v1/ws/dev" });
  expect(await find("?mode=dev", "")).toEqual({ mode: "dev", endpoint: "wss://pages.example/api/v1/ws/dev" });
  await expect(find("", "gopher://gateway.example")).rejects.toThrow("no address of a WebSocket: gopher://gateway.example");
});
