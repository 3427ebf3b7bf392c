import { fromUtf8 } from "./bytes.js";

const DEPTH_MAX = 64;

/**
 * The value of MessagePack bytes, as JSON would have it: maps are objects with text keys, binary is a `Uint8Array`, and
 * integers beyond 2^53 are numbers that are near. Throws where bytes are missing, left over, an extension, no MessagePack, or
 * deeper than 64.
 */
export function decodeMsgpack(bytes: Uint8Array): unknown {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) as unknown as Record<string, (at: number) => number | bigint>;
  let at = 0;

  const take = (length: number): number => {
    if (length > bytes.length - at) throw new Error("MessagePack ends early");
    at += length;
    return at - length;
  };
  const number = (kind: "Uint" | "Int" | "Float", size: number): number => {
    const big = size === 8 && kind !== "Float" ? "Big" : "";
    const start = take(size);
    return Number(view[`get${big}${kind}${size * 8}`]?.(start));
  };
  const slice = (length: number): Uint8Array => {
    const start = take(length);
    return bytes.subarray(start, start + length);
  };
  const list = <T>(length: number, item: () => T): T[] => {
    // Each item has a byte at least: a length that cannot be is not a size to make room for.
    at = take(length);
    return Array.from({ length }, item);
  };
  const value = (depth: number): unknown => {
    if (depth > DEPTH_MAX) throw new Error("MessagePack is too deep");
    const inner = () => value(depth + 1);
    const array = (length: number) => list(length, inner);
    const map = (length: number) => Object.fromEntries(list(length, () => [String(inner()), inner()]));
    const text = (length: number) => fromUtf8(slice(length));
    const tag = number("Uint", 1);
    /** Of tags in a row, of which each has twice the size of the one before: that of this one. */
    const size = (first: number) => 1 << (tag - first);
    if (tag < 0x80) return tag;
    if (tag < 0x90) return map(tag & 15);
    if (tag < 0xa0) return array(tag & 15);
    if (tag < 0xc0) return text(tag & 31);
    if (tag === 0xc0) return null;
    if (tag === 0xc2 || tag === 0xc3) return tag === 0xc3;
    if (tag >= 0xc4 && tag <= 0xc6) return slice(number("Uint", size(0xc4)));
    if (tag === 0xca || tag === 0xcb) return number("Float", size(0xc8));
    if (tag >= 0xcc && tag <= 0xcf) return number("Uint", size(0xcc));
    if (tag >= 0xd0 && tag <= 0xd3) return number("Int", size(0xd0));
    if (tag >= 0xd9 && tag <= 0xdb) return text(number("Uint", size(0xd9)));
    if (tag === 0xdc || tag === 0xdd) return array(number("Uint", size(0xdb)));
    if (tag === 0xde || tag === 0xdf) return map(number("Uint", size(0xdd)));
    if (tag >= 0xe0) return tag - 256;
    throw new Error(`0x${tag.toString(16)} is no MessagePack that is read here`);
  };

  const whole = value(0);
  if (at !== bytes.length) throw new Error("bytes are left over behind MessagePack");
  return whole;
}
