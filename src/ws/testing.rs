//! What the tests of this room share: a client that builds frames.
