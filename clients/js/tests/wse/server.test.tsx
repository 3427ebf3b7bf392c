// Rendering on a server: nothing connects, and the page has something to show.
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { useWSE } from "../../src/wse/index.js";
import { Dashboard } from "./app.js";

test("an application renders on a server", () => {
  expect(renderToString(<Dashboard token="aaa.bbb.ccc" endpoint="wss://gateway.example.com/wse" />)).toContain("pending");
});

test("without endpoints, which only a page knows, too", () => {
  function Status() {
    return <p>{String(useWSE("aaa.bbb.ccc").isConnected)}</p>;
  }
  expect(renderToString(<Status />)).toBe("<p>false</p>");
});
