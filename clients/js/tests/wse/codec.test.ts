// What comes over the wire, whole, cut and broken.
import { deflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { decodeMsgpack } from "../../src/wse/msgpack.js";
import { type Decoded, decodeBinary, decodeText, decompress } from "../../src/wse/index.js";
import { randomValue, seeded } from "./random.js";

const bytes = (data: Uint8Array | string) => new Uint8Array(Buffer.from(data));
const message = (decoded: Decoded) => ("message" in decoded ? decoded.message : decoded);

/** As another implementation would write it. */
function encodeMsgpack(value: unknown): Buffer {
  if (value === null) return Buffer.of(0xc0);
  if (typeof value === "boolean") return Buffer.of(value ? 0xc3 : 0xc2);
  if (typeof value === "string") {
    const text = Buffer.from(value);
    const head = text.length < 32 ? Buffer.of(0xa0 | text.length) : Buffer.of(0xda, text.length >> 8, text.length & 255);
    return Buffer.concat([head, text]);
  }
  if (typeof value === "number") {
    const sized = (tag: number, size: number, write: (buffer: Buffer) => void) => {
      const buffer = Buffer.alloc(1 + size);
      buffer[0] = tag;
      write(buffer);
      return buffer;
    };
    if (!Number.isInteger(value) || Object.is(value, -0)) return sized(0xcb, 8, (buffer) => buffer.writeDoubleBE(value, 1));
    if (value >= 0 && value < 128) return Buffer.of(value);
    if (value < 0 && value >= -32) return Buffer.of(value + 256);
    if (value >= 0 && value < 256) return Buffer.of(0xcc, value);
    if (value >= 0 && value < 65_536) return sized(0xcd, 2, (buffer) => buffer.writeUInt16BE(value, 1));
    if (value >= 0 && value < 2 ** 32) return sized(0xce, 4, (buffer) => buffer.writeUInt32BE(value, 1));
    if (value >= -128 && value < 128) return sized(0xd0, 1, (buffer) => buffer.writeInt8(value, 1));
    if (value >= -32_768 && value < 32_768) return sized(0xd1, 2, (buffer) => buffer.writeInt16BE(value, 1));
    if (value >= -(2 ** 31) && value < 2 ** 31) return sized(0xd2, 4, (buffer) => buffer.writeInt32BE(value, 1));
    if (value > 0) return sized(0xcf, 8, (buffer) => buffer.writeBigUInt64BE(BigInt(value), 1));
    return sized(0xd3, 8, (buffer) => buffer.writeBigInt64BE(BigInt(value), 1));
  }
  if (Array.isArray(value)) {
    const head = value.length < 16 ? Buffer.of(0x90 | value.length) : Buffer.of(0xdc, value.length >> 8, value.length & 255);
    return Buffer.concat([head, ...value.map(encodeMsgpack)]);
  }
  const entries = Object.entries(value as object);
  const head = entries.length < 16 ? Buffer.of(0x80 | entries.length) : Buffer.of(0xde, entries.length >> 8, entries.length & 255);
  return Buffer.concat([head, ...entries.flatMap(([key, item]) => [encodeMsgpack(key), encodeMsgpack(item)])]);
}

test("MessagePack is read as another implementation writes it", () => {
  const random = seeded(5);
  for (let i = 0; i < 500; i++) {
    const value = randomValue(random);
    expect(decodeMsgpack(bytes(encodeMsgpack(value)))).toEqual(value);
  }
});

test("MessagePack that is cut is refused at every byte, and so is what is left over", () => {
  const whole = encodeMsgpack({ t: "x", p: { list: [1, -1, 300, -300, 70_000, 1.5, "text", null, true] } });
  for (let end = 0; end < whole.length; end++) expect(() => decodeMsgpack(bytes(whole.subarray(0, end)))).toThrow();
  expect(() => decodeMsgpack(bytes(Buffer.concat([whole, Buffer.of(0)])))).toThrow("left over");
});

test("MessagePack cannot ask for more than it has, or be deeper than 64", () => {
  for (const head of [[0xdd, 0xff, 0xff, 0xff, 0xff], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xdb, 0xff, 0xff, 0xff, 0xff], [0xc6, 0xff, 0xff, 0xff, 0xff]]) {
    expect(() => decodeMsgpack(Uint8Array.from(head))).toThrow("early");
  }
  expect(() => decodeMsgpack(new Uint8Array(100_000).fill(0x91))).toThrow("deep");
  for (const tag of [0xc1, 0xc7, 0xd4]) expect(() => decodeMsgpack(Uint8Array.of(tag, 1, 1))).toThrow();
});

test("MessagePack cannot reach prototypes", () => {
  const value = decodeMsgpack(bytes(encodeMsgpack(JSON.parse('{"__proto__":{"admin":true}}')))) as object;
  expect(Object.keys(value)).toEqual(["__proto__"]);
  expect(({} as { admin?: boolean }).admin).toBeUndefined();
});

test("random bytes are a message or an error, never anything else", async () => {
  const random = seeded(6);
  for (let i = 0; i < 3_000; i++) {
    const marks = ["C:", "M:", "E:", "", "\x78\x9c", "{", "\x81"];
    const mark = Buffer.from(marks[i % marks.length] as string, "latin1");
    const noise = Buffer.from(Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256)));
    const result = await decodeBinary(bytes(Buffer.concat([mark, noise]))).catch((error: unknown) => error);
    if (!(result instanceof Error)) expect(result).toBeTypeOf("object");
  }
});

test("each form of a message is the same message", async () => {
  const whole = { c: "U", t: "tick", p: { n: 1, text: "é😀" }, tp: "prices", e: "1f", o: 7 };
  const json = JSON.stringify(whole);
  const forms = [json, deflateSync(json), Buffer.concat([Buffer.from("C:"), deflateSync(json)])];
  const packed = encodeMsgpack(whole);
  for (const form of [...forms, packed, Buffer.concat([Buffer.from("M:"), packed])]) {
    expect(message(await decodeBinary(bytes(form)))).toEqual(whole);
  }
  const { c: _, ...plain } = whole;
  expect(message(decodeText(`U${JSON.stringify(plain)}`))).toEqual(whole);
  expect(message(decodeText('WSE{"type":"x","payload":[1]}'))).toEqual({ c: "WSE", t: "x", p: { data: [1] } });
  expect(decodeText("WSE:PING:77")).toEqual({ ping: 77 });
  expect(decodeText("PONG:78")).toEqual({ pong: 78 });
});

test.each(["", "null", "[]", "7", '"x"', "{}", '{"t":7}', '{"t":""}', "hello", "{", "PING:x", "WSE[]"])("%j is no message", (text) => {
  expect(() => decodeText(text)).toThrow();
});

test("a stamp is whole or none", () => {
  for (const stamp of [{ tp: "t", e: "1" }, { tp: "t", e: "1", o: 1.5 }, { tp: 7, e: "1", o: 1 }, { tp: "t", e: null, o: 1 }, { tp: "t", e: "1", o: "1" }]) {
    expect(message(decodeText(JSON.stringify({ t: "x", ...stamp })))).toEqual({ t: "x", p: {} });
  }
  expect(message(decodeText('{"t":"x","tp":"t","e":5,"o":0}'))).toMatchObject({ tp: "t", e: "5", o: 0 });
});

test("what grows beyond the limit is refused as soon as it does", async () => {
  const bomb = bytes(deflateSync(Buffer.alloc(64 * 1_048_576)));
  expect(bomb.length).toBeLessThan(70_000);
  await expect(decompress(bomb)).rejects.toThrow("larger than 1048576");
  const fits = bytes(deflateSync(Buffer.alloc(1_048_576, 1)));
  expect((await decompress(fits)).length).toBe(1_048_576);
});

test("zlib that is cut or broken is refused", async () => {
  const whole = deflateSync(JSON.stringify({ t: "x", p: { text: "some text ".repeat(20) } }));
  for (let end = 0; end < whole.length; end++) await expect(decompress(bytes(whole.subarray(0, end)))).rejects.toThrow();
  const broken = bytes(whole);
  broken[broken.length - 1]! ^= 1;
  await expect(decompress(broken)).rejects.toThrow();
});

test("text that is no UTF-8 is refused", async () => {
  await expect(decodeBinary(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x7d))).rejects.toThrow();
});
