import type { Bytes } from "./bytes.js";
import type { Decoded } from "./codec.js";
import { EncryptionSession } from "./encryption.js";
import { MessageSigner } from "./signing.js";
import type { SecurityConfig, WSMessage } from "./types.js";

const UNAVAILABLE = "serve the page from https or localhost: here browsers do not encrypt";

/** What a channel tells its connection. */
export interface SecureChannelEvents {
  /** It is settled whether messages are encrypted, or it is not any longer as it was. */
  onSettled(encrypted: boolean): void;
  /** It cannot be as it is configured: nothing more may be sent. */
  onGiveUp(code: string, message: string): void;
  onError(code: string, error: unknown): void;
}

/** Encryption and signatures of one connection. */
export class SecureChannel {
  #session: EncryptionSession | undefined;
  #signer: Promise<MessageSigner> | undefined;
  #settled = false;
  #point: Promise<string | undefined> | undefined;
  readonly #wanted: boolean;

  constructor(
    private readonly config: Partial<SecurityConfig>,
    private readonly events: SecureChannelEvents,
  ) {
    this.#wanted = Boolean(config.encryptionEnabled || config.encryptionRequired);
    if (config.signingKey) {
      this.#signer = MessageSigner.create(config.signingKey);
      // Who awaits it is told; nobody may.
      this.#signer.catch(() => {});
    }
  }

  get encrypted(): boolean {
    return this.#session?.established === true;
  }

  /** The point to say in the greeting, if encryption is wanted and can be. It is the same each time: greetings may be repeated. */
  begin(): Promise<string | undefined> {
    return (this.#point ??= this.#begin());
  }

  async #begin(): Promise<string | undefined> {
    if (this.config.messageSignature && !this.#signer) {
      this.events.onGiveUp("NO_SIGNING_KEY", "there is nothing to sign with: give `security.signingKey`, or no `messageSignature`");
    }
    if (!this.#wanted) return undefined;
    try {
      this.#session = await EncryptionSession.create();
      return this.#session.publicKey;
    } catch {
      return undefined;
    }
  }

  /** What is to be written of a message. Rejects one that must be encrypted and cannot be. */
  async seal(json: string, clear: boolean, mustEncrypt = false): Promise<string | Bytes> {
    if (clear) return json;
    const text = this.config.messageSignature && this.#signer ? await (await this.#signer).sign(json) : json;
    if (this.#session?.established) return this.#session.seal(text);
    if (mustEncrypt || this.config.encryptionRequired) throw new Error("encryption has ended: a message that must be encrypted is not sent");
    return text;
  }

  open(frame: Bytes): Promise<string> {
    return this.#session ? this.#session.open(frame) : Promise.reject(new Error("an encrypted message, and there is no key"));
  }

  /** Whether a message may be taken, by its signature. */
  async accepts({ message, json }: Extract<Decoded, { message: WSMessage }>): Promise<boolean> {
    if (!this.#signer) return true;
    const verdict = await (await this.#signer).verify(json ?? JSON.stringify(message));
    if (verdict === "good" || (verdict === "unsigned" && !this.config.signedTypes?.includes(message.t))) return true;
    this.events.onError("SIGNATURE_INVALID", `a message of type ${message.t} is dropped: its signature is ${verdict}`);
    return false;
  }

  /** Looks at the messages that settle keys. The key counts for the next frame. */
  onMessage({ t, p }: WSMessage): void {
    if (t === "server_hello" && !this.#settled) {
      if (!this.#session || p["features"]?.encryption !== true) this.giveUp();
      else void this.#complete(p["encryption_public_key"]);
    } else if (t === "key_rotation_response" && p["success"] === true) void this.#complete(p["new_public_key"]);
    else if (t === "encryption_response" && p["enabled"] === false) this.#inClear("the server has ended encryption");
  }

  /** There will be no key. */
  giveUp(): void {
    if (!this.#settled) this.#inClear(this.#session ? "the server does not encrypt" : UNAVAILABLE);
  }

  #inClear(reason: string): void {
    this.#settled = true;
    this.#session = undefined;
    if (this.config.encryptionRequired) return this.events.onGiveUp("ENCRYPTION_UNAVAILABLE", reason);
    if (this.#wanted) this.events.onError("ENCRYPTION_UNAVAILABLE", `${reason}: messages go in clear text`);
    this.events.onSettled(false);
  }

  /** Another point, for another key; the server's answer brings it. */
  async rotate(): Promise<string | undefined> {
    return this.encrypted ? this.#session?.rotate() : undefined;
  }

  async #complete(key: unknown): Promise<void> {
    const session = this.#session;
    try {
      if (typeof key !== "string") throw new Error("the server names no key");
      await session?.complete(key);
    } catch (error) {
      this.events.onError("KEY_EXCHANGE_FAILED", error);
    }
    if (this.#settled || session !== this.#session) return;
    if (!session?.established) return this.giveUp();
    this.#settled = true;
    this.events.onSettled(true);
  }
}
