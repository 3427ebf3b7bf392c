import { expect, test } from "vitest";
import { backoff } from "../../src/core/backoff.js";
import { createEmitter } from "../../src/core/emitter.js";
import { matcher } from "../../src/core/pattern.js";
import { earlier, isPast, sameEpoch } from "../../src/core/place.js";

test("the delay is drawn below a limit that doubles", () => {
  const longest = [0, 1, 2, 3, 4, 5, 6, 60, 2000].map((attempts) => backoff(attempts, 500, 20_000, 0, 1));
  expect(longest).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 20_000, 20_000, 20_000]);
  expect(backoff(5, 500, 20_000, 0, 0)).toBe(0);
  expect(backoff(5, 500, 20_000, 0, 0.25)).toBe(4000);
});

test("a hint wins, and what is added to it spreads clients", () => {
  expect(backoff(0, 500, 20_000, 7000, 0)).toBe(7000);
  expect(backoff(0, 500, 20_000, 7000, 1)).toBe(7500);
  expect(backoff(9, 500, 20_000, 90_000, 1)).toBe(91_000);
});

test("patterns cover what the gateway says they do", () => {
  const check = (pattern: string, yes: string[], no: string[]) => {
    const covers = matcher(pattern);
    expect(yes.filter((topic) => !covers(topic))).toEqual([]);
    expect(no.filter(covers)).toEqual([]);
  };
  check("a.b", ["a.b"], ["a", "a.b.c", "axb"]);
  check("a.*", ["a.b", "a.b.c", "a."], ["a", "ab", "b.a.c"]);
  check("a.*.c", ["a.b.c", "a..c"], ["a.b", "a.b.d", "a.b.x.c", "a.b:x.c"]);
  check("a.b*", ["a.b", "a.bc", "a.bc.d"], ["a.", "a.c"]);
  check("*:x", ["a:x", ":x"], ["a.b:x", "a.x"]);
  check("*", ["a", "a.b"], ["user:ann:events"]);
  check("a(+*", ["a(+b"], ["a", "aab"]);
});

test("places are compared as numbers of any length", () => {
  expect(isPast("1-9", "1-10")).toBe(true);
  expect(isPast("1-10", "1-10")).toBe(true);
  expect(isPast("1-11", "1-10")).toBe(false);
  expect(isPast("1-99999999999999999999", "1-100000000000000000000")).toBe(false); // 21 digits are none
  expect(isPast("2-1", "1-10")).toBe(false);
  expect(isPast("sse:a", "sse:a")).toBe(false);
  expect(sameEpoch("7-1", "7-2")).toBe(true);
  expect(sameEpoch("7-1", "8-1")).toBe(false);
});

test("of two places the earlier one counts, and that of a newer epoch", () => {
  expect(earlier("1-9", "1-10")).toBe("1-9");
  expect(earlier("1-10", "1-9")).toBe("1-9");
  expect(earlier("9-10", "10-11")).toBe("10-11");
  expect(earlier("10-11", "9-10")).toBe("10-11");
  expect(earlier("sse:a", "sse:a")).toBe("sse:a");
  expect(earlier("sse:a", "sse:b")).toBeUndefined();
  expect(earlier("sse:a", "1-1")).toBeUndefined();
});

test("a listener that throws or rejects is reported, and others are called", async () => {
  const reported: unknown[] = [];
  const emitter = createEmitter<{ x: number }>((error) => reported.push(error));
  const heard: number[] = [];
  emitter.on("x", () => {
    throw "thrown";
  });
  emitter.on("x", async () => {
    throw "rejected";
  });
  const listener = (value: number) => heard.push(value);
  const off = emitter.on("x", listener);
  emitter.on("x", listener);
  emitter.emit("x", 1);
  off();
  off();
  emitter.emit("x", 2);
  await Promise.resolve();
  expect(heard).toEqual([1, 1, 2]);
  expect(reported).toEqual(["thrown", "thrown", "rejected", "rejected"]);
});
