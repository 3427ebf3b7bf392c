import { toHex, utf8 } from "./bytes.js";
import { canonicalJson } from "./canonical.js";
import { DUPLICATE_AGE_MAX } from "./constants.js";
import { EventSequencer } from "./sequencer.js";

/** Why a signature does not count; `unsigned` where there is none of this form. */
export type SignatureVerdict = "good" | "unsigned" | "wrong" | "old" | "repeated";

/**
 * Signatures of messages with a key that both sides know: `<hash>:<time>:<nonce>:<mac>`, see docs/wse.md, "Signing". Each
 * counts once, for 300 s.
 */
export class MessageSigner {
  readonly #nonces: EventSequencer;

  private constructor(
    private readonly key: CryptoKey,
    private readonly now: () => number,
  ) {
    this.#nonces = new EventSequencer(undefined, DUPLICATE_AGE_MAX * 2, undefined, now);
  }

  /** Rejects where the page may not use WebCrypto: browsers allow it on https and localhost alone. */
  static async create(key: string | Uint8Array, now: () => number = Date.now): Promise<MessageSigner> {
    const bytes = typeof key === "string" ? utf8(key) : new Uint8Array(key);
    const usages: KeyUsage[] = ["sign"];
    return new MessageSigner(await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, usages), now);
  }

  /** The JSON with a `sig`. */
  async sign(json: string): Promise<string> {
    const nonce = toHex(crypto.getRandomValues(new Uint8Array(8)));
    const signed = `${await hash(json)}:${Math.floor(this.now() / 1000)}:${nonce}`;
    return JSON.stringify({ ...(JSON.parse(json) as object), sig: `${signed}:${await this.#mac(signed)}` });
  }

  /** Looks at the `sig` of a JSON message. */
  async verify(json: string): Promise<SignatureVerdict> {
    const { sig } = JSON.parse(json) as { sig?: unknown };
    const parts = typeof sig === "string" ? sig.split(":") : [];
    if (parts.length !== 4) return "unsigned";
    const [digest, time, nonce, mac] = parts as [string, string, string, string];
    if (!(await equal(mac, await this.#mac(`${digest}:${time}:${nonce}`)))) return "wrong";
    if (!(await equal(digest, await hash(json)))) return "wrong";
    if (!(Math.abs(this.now() - Number(time) * 1000) <= DUPLICATE_AGE_MAX)) return "old";
    return this.#nonces.isDuplicate(nonce) ? "repeated" : "good";
  }

  async #mac(text: string): Promise<string> {
    return toHex(new Uint8Array(await crypto.subtle.sign("HMAC", this.key, utf8(text))));
  }
}

const hash = async (json: string): Promise<string> => {
  const text = canonicalJson(json, "sig");
  return toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", utf8(text))));
};

/** In a time that does not tell where they differ. */
async function equal(a: string, b: string): Promise<boolean> {
  const [left, right] = await Promise.all([a, b].map(async (text) => crypto.subtle.digest("SHA-256", utf8(text))));
  const bytes = new Uint8Array(right as ArrayBuffer);
  return new Uint8Array(left as ArrayBuffer).reduce((difference, byte, i) => difference | (byte ^ (bytes[i] as number)), 0) === 0;
}
