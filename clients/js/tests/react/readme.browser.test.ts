// The React page of the gateway's README, as it stands there.
import { expect, test } from "vitest";
import { commands } from "vitest/browser";
import { until } from "../support/until.js";

test("the first ten minutes in React work as they stand there", async () => {
  const gateway = await commands.startGateway();
  const root = document.createElement("div");
  root.id = "root";
  document.body.append(root);
  await import(/* @vite-ignore */ `/readme.tsx?port=${new URL(gateway).port}`);
  await until(() => root.textContent === " +");
  root.querySelector("button")!.click();
  await until(() => root.textContent === "tea +");
  root.querySelector("button")!.click();
  await until(() => root.textContent === "tea, tea +");
  expect(root.querySelectorAll("button")).toHaveLength(1);
  await commands.stopGateway(gateway);
});
