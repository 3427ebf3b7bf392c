// Encryption and signatures, against other implementations.
import { createCipheriv, createDecipheriv, createECDH, createHmac, hkdfSync, randomBytes } from "node:crypto";
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { canonicalJson } from "../../src/wse/canonical.js";
import { createEncryptionSession, createMessageSigner, createSecureChannel } from "../../src/wse/index.js";
import { randomValue, seeded } from "./random.js";

/** The server's side, by Node's own cryptography. */
class Peer {
  readonly #ecdh = createECDH("prime256v1");
  readonly publicKey = this.#ecdh.generateKeys("base64");
  #key: Buffer = Buffer.alloc(0);

  agree(point: string): void {
    const secret = this.#ecdh.computeSecret(point, "base64");
    this.#key = Buffer.from(hkdfSync("sha256", secret, "", "wse-encryption/aes-gcm-key", 32));
  }

  seal(text: string): Uint8Array<ArrayBuffer> {
    const iv = randomBytes(12);
    const cipher = createCipheriv("aes-256-gcm", this.#key, iv);
    return new Uint8Array(Buffer.concat([Buffer.from("E:"), iv, cipher.update(text), cipher.final(), cipher.getAuthTag()]));
  }

  open(frame: Uint8Array): string {
    const bytes = Buffer.from(frame);
    expect(bytes.subarray(0, 2).toString()).toBe("E:");
    const cipher = createDecipheriv("aes-256-gcm", this.#key, bytes.subarray(2, 14));
    cipher.setAuthTag(bytes.subarray(-16));
    return Buffer.concat([cipher.update(bytes.subarray(14, -16)), cipher.final()]).toString();
  }
}

test("both sides read each other, before and after another key", async () => {
  const session = await createEncryptionSession();
  expect(Buffer.from(session.publicKey, "base64")).toHaveLength(65);
  for (let round = 0; round < 2; round++) {
    const peer = new Peer();
    peer.agree(session.publicKey);
    await session.complete(peer.publicKey);
    for (const text of ["", "x", '{"t":"é😀"}', "y".repeat(100_000)]) {
      expect(peer.open(await session.seal(text))).toBe(text);
      expect(await session.open(peer.seal(text))).toBe(text);
    }
    await session.rotate();
  }
});

test("nothing but what was sealed can be opened", async () => {
  const session = await createEncryptionSession();
  await expect(session.seal("x")).rejects.toThrow("no key");
  const peer = new Peer();
  peer.agree(session.publicKey);
  await session.complete(peer.publicKey);
  const frame = peer.seal("hello");
  for (let i = 2; i < frame.length; i++) {
    const changed = frame.slice();
    changed[i]! ^= 1;
    await expect(session.open(changed)).rejects.toThrow();
  }
  for (let end = 0; end < frame.length; end++) await expect(session.open(frame.slice(0, end))).rejects.toThrow();
});

test("a point that is none leaves the key as it is", async () => {
  const session = await createEncryptionSession();
  const peer = new Peer();
  peer.agree(session.publicKey);
  for (const point of ["", "AAAA", "not base64!", Buffer.alloc(65, 4).toString("base64")]) await expect(session.complete(point)).rejects.toThrow();
  expect(session.established).toBe(false);
  await session.complete(peer.publicKey);
  await expect(session.complete("AAAA")).rejects.toThrow();
  expect(await session.open(peer.seal("still"))).toBe("still");
});

test("a channel whose encryption has ended seals nothing that must be sealed", async () => {
  const told: string[] = [];
  const channel = await createSecureChannel(
    { encryptionEnabled: true },
    { onSettled: (encrypted) => told.push(`settled ${encrypted}`), onGiveUp: (code) => told.push(code), onError: (code) => told.push(code) },
  );
  const peer = new Peer();
  peer.agree((await channel.begin()) as string);
  channel.onMessage({ t: "server_hello", p: { features: { encryption: true }, encryption_public_key: peer.publicKey } });
  await expect.poll(() => told).toEqual(["settled true"]);
  expect(peer.open((await channel.seal("one", false, true)) as Uint8Array)).toBe("one");
  channel.onMessage({ t: "encryption_response", p: { enabled: false } });
  // Given to it while there was a key, and sealed in its turn, when there is none.
  await expect(channel.seal("two", false, true)).rejects.toThrow("encryption has ended");
  expect(await channel.seal("three", false)).toBe("three");
  expect(told).toEqual(["settled true", "ENCRYPTION_UNAVAILABLE", "settled false"]);
});

test("JSON is written as Python sorts and writes it", () => {
  const random = seeded(7);
  const texts = [
    "1.0", "-0", "-0.0", "1e5", "1E-7", "0.00001", "0.0001", "123456789012345680000", "1e16", "1.5e16", "9007199254740993", "1e22", "1.0e-400",
    '{"b":1,"a":{"d":[],"c":{}},"a":2}', ' [ 1 , 2.50 , "\\u00e9\\ud83d\\ude00\\/\\u007f" ] ', '{"😀":1,"\uffff":2,"":3}', "[true,false,null]",
    ...Array.from({ length: 400 }, () => JSON.stringify(randomValue(random))),
  ];
  const program = "import json,sys\nfor t in json.load(sys.stdin): print(json.dumps(json.loads(t), sort_keys=True))";
  const written = execFileSync("python3", ["-c", program], { input: JSON.stringify(texts) }).toString().trimEnd().split("\n");
  for (const [i, text] of texts.entries()) expect(canonicalJson(text)).toBe(written[i]);
});

test.each(["", "{", "[1,]", "nul", "01", "{'a':1}"])("%j is refused", (text) => {
  expect(() => canonicalJson(text)).toThrow();
});

const KEY = "a key of both sides";

test("a signature is that of the router's form", async () => {
  const signer = await createMessageSigner(KEY, () => 1_700_000_000_500);
  const signed = JSON.parse(await signer.sign('{"t":"order","p":{"n":1.5}}')) as { sig: string };
  const [hash, time, nonce, mac] = signed.sig.split(":");
  expect(time).toBe("1700000000");
  expect(nonce).toMatch(/^[0-9a-f]{16}$/);
  const program = "import hashlib,json\nprint(hashlib.sha256(json.dumps({'t':'order','p':{'n':1.5}}, sort_keys=True).encode()).hexdigest())";
  expect(execFileSync("python3", ["-c", program]).toString().trim()).toBe(hash);
  expect(createHmac("sha256", KEY).update(`${hash}:${time}:${nonce}`).digest("hex")).toBe(mac);
});

test("a signature counts once, for its message, its key and its time", async () => {
  let now = 1_700_000_000_000;
  const [ours, theirs] = await Promise.all([KEY, "another key"].map((key) => createMessageSigner(key, () => now)));
  const signed = await ours!.sign('{"t":"order","p":{"n":1}}');
  expect(await theirs!.verify(signed)).toBe("wrong");
  expect(await ours!.verify(signed.replace('"n":1', '"n":2'))).toBe("wrong");
  expect(await ours!.verify(signed)).toBe("good");
  expect(await ours!.verify(signed)).toBe("repeated");
  const later = await ours!.sign('{"t":"order","p":{}}');
  now += 301_000;
  expect(await ours!.verify(later)).toBe("old");
  for (const sig of [undefined, 7, "x", "a:b:c"]) expect(await ours!.verify(JSON.stringify({ t: "x", sig }))).toBe("unsigned");
  expect(await ours!.verify('{"t":"x","sig":"a:NaN:c:d"}')).toBe("wrong");
});
