//! A PROXY header is decided within its limit, and alike however it was cut.

use fanfare::http::{PROXY_BYTES_MAX, parse_proxy};

pub fn run(input: &[u8]) {
    let whole = parse_proxy(input);
    if let Ok(Some(header)) = whole {
        assert!(header.bytes <= PROXY_BYTES_MAX.min(input.len()));
        assert_eq!(parse_proxy(&input[..header.bytes]), whole);
        for cut in 0..header.bytes {
            assert_eq!(parse_proxy(&input[..cut]), Ok(None));
        }
    } else if whole == Ok(None) {
        assert!(input.len() < PROXY_BYTES_MAX);
    }
}
