// The tables in code are those of docs/clients.md.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { closeRemedy, errorRemedy } from "../../src/core/codes.js";

const text = readFileSync(new URL("../../../../docs/clients.md", import.meta.url), "utf8");

/** Rows of the first table below a heading. */
function table(heading: string): string[][] {
  const section = text.split(`\n## ${heading}\n`)[1]!.split("\n## ")[0]!;
  const rows = section.split("\n").filter((line) => line.startsWith("| "));
  return rows.slice(1).map((row) => row.slice(2, -2).split(" | "));
}

const closes = table("Close codes");
const errors = table("Error codes");

test("there are tables", () => {
  expect(closes.length).toBeGreaterThan(20);
  expect(errors.length).toBeGreaterThan(10);
});

test.each(closes)("close %s %s: %s", (code, reason, advice) => {
  const remedy = /^(after getting a new token|with a token)/.test(advice!) ? "token" : /^no/.test(advice!) ? "fix" : "retry";
  expect(closeRemedy(Number(code), reason!)).toBe(remedy);
});

test.each(errors.flatMap(([codes, advice]) => codes!.split(", ").map((code) => [code.replaceAll("`", ""), advice!])))(
  "error %s: %s",
  (code, advice) => {
    const isRetried = /again|close other connections/.test(advice);
    const remedy = isRetried ? "retry" : /(another|new) token/.test(advice) ? "token" : "fix";
    expect(errorRemedy(code)).toBe(remedy);
  },
);
