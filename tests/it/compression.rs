//! Compressed messages that are bombs, corrupt or empty (HOSTILE C01 to C07).
