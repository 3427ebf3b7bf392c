import { type Bytes, fromUtf8, utf8 } from "./bytes.js";

const IV_BYTES = 12;
const TAG_BYTES = 16;
const INFO = "wse-encryption/aes-gcm-key";

const toBase64 = (bytes: Uint8Array): string => btoa(String.fromCharCode(...bytes));
const fromBase64 = (text: string): Bytes => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

/**
 * The encryption of one connection, between client and server: ECDH on P-256, HKDF-SHA256, AES-256-GCM. See docs/wse.md,
 * "End-to-end encryption". A new connection needs a new session.
 */
export class EncryptionSession {
  #key: Promise<CryptoKey> | undefined;
  #pair: CryptoKeyPair;
  /** The point to tell the server: base64 of 65 bytes. */
  publicKey: string;

  private constructor(pair: CryptoKeyPair, publicKey: string) {
    this.#pair = pair;
    this.publicKey = publicKey;
  }

  /** Makes a key pair. Rejects where the page may not use WebCrypto. */
  static async create(): Promise<EncryptionSession> {
    const { pair, publicKey } = await makePair();
    return new EncryptionSession(pair, publicKey);
  }

  /** Whether the server's key is known, or about to be. */
  get established(): boolean {
    return this.#key !== undefined;
  }

  /** Takes the server's point. From now on {@link seal} and {@link open} use the shared key. Rejects a point that is none. */
  async complete(serverPublicKey: string): Promise<void> {
    const before = this.#key;
    const key = deriveKey(this.#pair, serverPublicKey);
    this.#key = key;
    try {
      await key;
    } catch (error) {
      if (this.#key === key) this.#key = before;
      throw error;
    }
  }

  /** Makes another pair for the next {@link complete}, and gives its point. The key stays until then. */
  async rotate(): Promise<string> {
    const { pair, publicKey } = await makePair();
    this.#pair = pair;
    return (this.publicKey = publicKey);
  }

  /** `E:`, IV, ciphertext and tag of a message. */
  async seal(text: string): Promise<Bytes> {
    const iv = crypto.getRandomValues(new Uint8Array(IV_BYTES));
    const sealed = new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv }, await this.#shared(), utf8(text)));
    const frame = new Uint8Array(2 + IV_BYTES + sealed.length);
    frame.set([0x45, 0x3a]);
    frame.set(iv, 2);
    frame.set(sealed, 2 + IV_BYTES);
    return frame;
  }

  /** The message of what {@link seal} makes. Rejects what was not made with the key. */
  async open(frame: Bytes): Promise<string> {
    if (frame.length < 2 + IV_BYTES + TAG_BYTES) throw new Error("an encrypted message is too short");
    const iv = frame.subarray(2, 2 + IV_BYTES);
    const sealed = frame.subarray(2 + IV_BYTES);
    return fromUtf8(new Uint8Array(await crypto.subtle.decrypt({ name: "AES-GCM", iv }, await this.#shared(), sealed)));
  }

  #shared(): Promise<CryptoKey> {
    return this.#key ?? Promise.reject(new Error("there is no key yet"));
  }
}

async function makePair(): Promise<{ pair: CryptoKeyPair; publicKey: string }> {
  const pair = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
  return { pair, publicKey: toBase64(new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey))) };
}

async function deriveKey(pair: CryptoKeyPair, serverPublicKey: string): Promise<CryptoKey> {
  const point = await crypto.subtle.importKey("raw", fromBase64(serverPublicKey), { name: "ECDH", namedCurve: "P-256" }, false, []);
  const bits = await crypto.subtle.deriveBits({ name: "ECDH", public: point }, pair.privateKey, 256);
  const material = await crypto.subtle.importKey("raw", bits, "HKDF", false, ["deriveKey"]);
  const hkdf = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: utf8(INFO) };
  return crypto.subtle.deriveKey(hkdf, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}
