"""Makes src/vectors.rs with PyNaCl and cryptography: pip install pynacl cryptography; python3 vectors.py > ../src/vectors.rs"""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from nacl.bindings import crypto_scalarmult_base
from nacl.public import Box, PrivateKey, PublicKey
from nacl.signing import SigningKey

TEXT = 'Meet at <noon> & "bring" Grüße \U0001f600'


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def user(name: str) -> dict:
    seed = hashlib.sha256(name.encode()).digest()
    signing = SigningKey(seed)
    x25519 = hashlib.sha256(b"X25519-from-Ed25519:" + seed).digest()
    return {
        "signing": signing,
        "private_key": b64(seed + bytes(signing.verify_key)),
        "public_key": b64(bytes(signing.verify_key)),
        "x25519": x25519,
        "x25519_public_key": b64(crypto_scalarmult_base(x25519)),
    }


def go_json(text: str) -> str:
    encoded = json.dumps(text, ensure_ascii=False)
    return encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


alice, bob = user("alice"), user("bob")
ephemeral = PrivateKey(hashlib.sha256(b"ephemeral").digest())
key, nonce = hashlib.sha256(b"key").digest(), bytes(range(12))
box_nonce = bytes(range(24))
content = AESGCM(key).encrypt(nonce, TEXT.encode(), None)
boxed = Box(ephemeral, PublicKey(base64.b64decode(bob["x25519_public_key"]))).encrypt(key, box_nonce)
encrypted_key = bytes(ephemeral.public_key) + boxed.nonce + boxed.ciphertext
signed = [b64(alice["signing"].sign(text.encode()).signature) for text in (go_json(TEXT), json.dumps(TEXT, ensure_ascii=False), TEXT)]

print("//! Keys, ciphertexts and signatures of other implementations: the output of tests/vectors.py.\n")
print("/// The keys of a user, as base64.\npub(crate) struct UserVector {")
for field in ("private_key", "public_key", "x25519_public_key"):
    print(f"    pub(crate) {field}: &'static str,")
print("}\n")
for name, keys in (("ALICE", alice), ("BOB", bob)):
    print(f"pub(crate) const {name}: UserVector = UserVector {{")
    for field in ("private_key", "public_key", "x25519_public_key"):
        print(f'    {field}: "{keys[field]}",')
    print("};\n")
print("/// A text that alice has signed: over its JSON of Go, its JSON, and as it is.")
print(f'pub(crate) const SIGNED_TEXT: &str = "{TEXT.replace(chr(34), chr(92) + chr(34))}";')
print("pub(crate) const SIGNED: [&str; 3] = [")
for signature in signed:
    print(f'    "{signature}",')
print("];\n")
print("/// The same text, encrypted to bob: content, encrypted key, nonce.")
print("pub(crate) const SEALED_TEXT: &str = SIGNED_TEXT;")
print("pub(crate) const SEALED: [&str; 3] = [")
for field in (content, encrypted_key, nonce):
    print(f'    "{b64(field)}",')
print("];")
