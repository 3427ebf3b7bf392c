import { MESSAGE_BYTES_MAX } from "./constants.js";
import type { Bytes } from "./bytes.js";

/** Whether the bytes begin as zlib (RFC 1950) does at any level. */
export function isZlib(bytes: Uint8Array): boolean {
  return bytes.length > 2 && bytes[0] === 0x78 && [0x01, 0x5e, 0x9c, 0xda].includes(bytes[1] as number);
}

/**
 * What zlib bytes are decompressed. Stops and rejects as soon as it is more than `max` bytes, so a small message cannot
 * fill the memory; rejects what is broken or ends early.
 */
export async function decompress(bytes: Bytes, max = MESSAGE_BYTES_MAX): Promise<Bytes> {
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  // Failures are those of the reader, too; here they would be unhandled.
  void writer.write(bytes).catch(() => {});
  void writer.close().catch(() => {});
  const reader = stream.readable.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > max) {
      void reader.cancel().catch(() => {});
      throw new Error(`a message is larger than ${max} bytes once decompressed`);
    }
    chunks.push(value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}
