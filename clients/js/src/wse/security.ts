// Loaded in one, since who asks for one of them often has both.
export { EncryptionSession } from "./encryption.js";
export { SecureChannel } from "./secure-channel.js";
export { MessageSigner } from "./signing.js";
