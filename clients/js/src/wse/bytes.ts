const encoder = new TextEncoder();
/** Invalid UTF-8 throws: what is broken is not guessed at. */
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Bytes on memory that is not shared, which is what WebCrypto and streams take. */
export type Bytes = Uint8Array<ArrayBuffer>;

export const utf8 = (text: string): Bytes => encoder.encode(text);
export const fromUtf8 = (bytes: Uint8Array): string => decoder.decode(bytes);

/** Bytes of the UTF-8 of `text`. */
export const utf8Length = (text: string): number => utf8(text).length;

export const toHex = (bytes: Uint8Array): string => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** A random id: a UUID, and on pages without TLS, where browsers make none, as many random bytes. */
export const uuid = (): string => crypto.randomUUID?.() ?? toHex(crypto.getRandomValues(new Uint8Array(16)));
