//! Any offer is declined or answered as RFC 7692 allows; any compressed bytes inflate or are
//! refused within the limit; what the deflater makes inflates to what it was.

use fanfare::ws::deflate::{DeflateOptions, Deflater, Inflater, negotiate};

const LIMIT: usize = 100_000;

pub fn run(input: &[u8]) {
    if let Ok(header) = std::str::from_utf8(input)
        && let Some(agreed) = negotiate(header.split('\n'), &DeflateOptions::default())
    {
        assert!((9..=15).contains(&agreed.server_window_bits()));
        assert!(header.to_ascii_lowercase().contains("permessage-deflate"));
        assert!(!agreed.response().contains("client_max_window_bits"));
    }

    let mut shared = Inflater::new();
    for inflater in [&mut shared, &mut Inflater::with_context()] {
        for _ in 0..2 {
            let mut out = Vec::new();
            let result = inflater.inflate(input, LIMIT, &mut out);
            assert!(result.is_err() || out.len() <= LIMIT);
        }
    }

    // The inflater is good for another message whatever the last one was.
    let window_bits = 9 + input.first().map_or(0, |byte| byte % 7);
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    Deflater::new(1 + u32::from(window_bits) % 9).compress(window_bits, input, &mut compressed);
    shared
        .inflate(&compressed, input.len(), &mut out)
        .expect("compressed above");
    assert_eq!(out, input);
}
