// Parts that not every application uses: each is loaded when it is first called. Encryption and signatures are where the
// configuration says so, what reads binary frames when one comes, the storage as a client starts that has one.
import type * as binary from "./binary.js";
import type { QueueStorage } from "./queue-storage.js";
import type { Keeper } from "./keeper.js";
import type { EncryptionSession } from "./encryption.js";
import type { SecureChannel } from "./secure-channel.js";
import type { MessageSigner } from "./signing.js";

/** Decodes a binary frame, in any of its forms. */
export const decodeBinary: typeof binary.decodeBinary = async (...of) => (await import("./binary.js")).decodeBinary(...of);

/** What zlib bytes are decompressed: at most `max` bytes, else it rejects. */
export const decompress: typeof binary.decompress = async (...of) => (await import("./binary.js")).decompress(...of);

/** The value of MessagePack bytes, as JSON would have it. */
export const decodeMsgpack = async (bytes: Uint8Array): Promise<unknown> => (await import("./binary.js")).decodeMsgpack(bytes);

/** A session with a key pair of its own. Rejects where {@link canEncrypt} is false. */
export const createEncryptionSession = async (): Promise<EncryptionSession> => (await import("./security.js")).EncryptionSession.create();

/** What signs with a key that both sides know, and checks. Rejects where {@link canEncrypt} is false. */
export const createMessageSigner = async (key: string | Uint8Array, now?: () => number): Promise<MessageSigner> =>
  (await import("./security.js")).MessageSigner.create(key, now);

/** See {@link SecureChannel}. */
export const createSecureChannel = async (...of: ConstructorParameters<typeof SecureChannel>): Promise<SecureChannel> =>
  new (await import("./security.js")).SecureChannel(...of);

/** Keeps messages in IndexedDB, shared by all pages of an origin: a message is taken by one of them. Rejects where there is none. */
export const openIndexedDb = async (name?: string): Promise<QueueStorage> => (await import("./keeper.js")).openIndexedDb(name);

/** See {@link Keeper}. */
export const createKeeper = async (...of: ConstructorParameters<typeof Keeper>): Promise<Keeper> => new (await import("./keeper.js")).Keeper(...of);

/** Whether this page may encrypt and sign: browsers allow it on https and localhost alone. */
export const canEncrypt = (): boolean => typeof crypto !== "undefined" && crypto.subtle !== undefined;
