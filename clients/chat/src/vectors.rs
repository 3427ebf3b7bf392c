//! Keys, ciphertexts and signatures of other implementations: the output of tests/vectors.py.

/// The keys of a user, as base64.
pub(crate) struct UserVector {
    pub(crate) private_key: &'static str,
    pub(crate) public_key: &'static str,
    pub(crate) x25519_public_key: &'static str,
}

pub(crate) const ALICE: UserVector = UserVector {
    private_key: "K9gGyX8OAK8aH8Myj6djqSaXI8jbj6xPk69x2xhtbpDVv0o/zOcXsDiLzCdJ68FIrZlpsj9F7htgX9WHeFdqxA==",
    public_key: "1b9KP8znF7A4i8wnSevBSK2ZabI/Re4bYF/Vh3hXasQ=",
    x25519_public_key: "Bxf6MFZaCBWID6Z5P4Bx3oCIRDkmVfTfB+lJaI/LIw4=",
};

pub(crate) const BOB: UserVector = UserVector {
    private_key: "gbY32PzSxtpjWeaWMROhFw3nleS3JbhNHgtM/Z7FjOnswbWHJ/PxKzGUiBqey53gsoznsgcjDY6TD+G8514lbA==",
    public_key: "7MG1hyfz8SsxlIgansud4LKM57IHIw2Okw/hvOdeJWw=",
    x25519_public_key: "Srtk5nWEtDpSLGfD1mrEe4qA6VuAiC/RsT1jCdLswn4=",
};

/// A text that alice has signed: over its JSON of Go, its JSON, and as it is.
pub(crate) const SIGNED_TEXT: &str = "Meet at <noon> & \"bring\" Grüße 😀";
pub(crate) const SIGNED: [&str; 3] = [
    "yUsenGgxdSSQrtiK03i64fKXSomPt4sp52uMcWEOaCs9XrCCynomjmS5nXXAdtdEqMUpH/ggdcRtbeV7kNtOCQ==",
    "0cGxEhgdeNlXGcIBons3oIVJeZwyyBApbLMqk9Q1lXyTTICH45NHLduCffcqcBoe6NPHlI6+jJnFJIVhVmSeDQ==",
    "wNzlcT3T1Qul+8t7FfuMOgPDYKPbIzLjb6TW3Tg6v7wGxHsx5f4Elnzdr507ppkdoMgt1VO5gaBdIZLc/A3KAw==",
];

/// The same text, encrypted to bob: content, encrypted key, nonce.
pub(crate) const SEALED_TEXT: &str = SIGNED_TEXT;
pub(crate) const SEALED: [&str; 3] = [
    "WMvCHwyAa3HIoVThtqp22eVK/LGyvpJ8gu0gNizvudYKSpCWAuinBQcJDVvx3Oogz9INE6E=",
    "4p11IZEUmLg37WktEqgVh4mOCsP2II6sEGm8qC+2tjMAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcMdIP0rEeWDtR3lBDF2p9w+uLLtNwTImTxKYws1nKy2yWPFZnxjKV5Uq4YnFuTGp8=",
    "AAECAwQFBgcICQoL",
];
