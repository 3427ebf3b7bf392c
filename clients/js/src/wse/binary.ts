import { type Bytes, fromUtf8 } from "./bytes.js";
import { type Decoded, decodeText, envelope } from "./codec.js";
import { decompress, isZlib } from "./decompress.js";
import { decodeMsgpack } from "./msgpack.js";

export { decodeMsgpack, decompress };

/**
 * Decodes a binary frame: `C:` and zlib, bare zlib, `M:` and MessagePack, bare MessagePack, `E:` where there is a key, or
 * JSON. Rejects what is none of it, or larger than a message may be.
 */
export async function decodeBinary(
  bytes: Bytes,
  open?: (frame: Bytes) => Promise<string>,
  inflated?: (before: number, after: number) => void,
): Promise<Decoded> {
  const mark = bytes[1] === 0x3a ? String.fromCharCode(bytes[0] as number) : "";
  if (mark === "C" || isZlib(bytes)) {
    const plain = await decompress(mark === "C" ? bytes.subarray(2) : bytes);
    inflated?.(bytes.length, plain.length);
    return decodeBytes(plain);
  }
  if (mark === "M") return { message: envelope(decodeMsgpack(bytes.subarray(2))) };
  if (mark === "E") {
    if (!open) throw new Error("an encrypted message, and there is no key");
    return decodeText(await open(bytes));
  }
  return decodeBytes(bytes);
}

/** JSON, else MessagePack: a map begins with 0x80 to 0x8f, 0xde or 0xdf, JSON never. */
function decodeBytes(bytes: Bytes): Decoded {
  const first = bytes[0] ?? 0;
  if ((first >= 0x80 && first <= 0x8f) || first === 0xde || first === 0xdf) return { message: envelope(decodeMsgpack(bytes)) };
  return decodeText(fromUtf8(bytes));
}
