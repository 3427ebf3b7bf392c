//! A head that is read without hyper is one that its parser reads alike, with the same bytes behind it.

use fanfare::http::{GuardLimits, read_head};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

const LIMITS: GuardLimits = GuardLimits {
    head_bytes_max: 1024,
    headers_max: 16,
};

pub fn run(input: &[u8]) {
    let received = bytes::Bytes::copy_from_slice(input);
    let Some((request, rest)) = read_head(&received, LIMITS) else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; LIMITS.headers_max];
    let mut parsed = httparse::Request::new(&mut fields);
    let head_bytes = parsed.parse(input).unwrap().unwrap();
    assert_eq!(&rest[..], &input[head_bytes..]);
    assert_eq!(request.method(), Method::GET);
    assert_eq!((parsed.method, parsed.version), (Some("GET"), Some(1)));
    let target: Uri = parsed.path.unwrap().parse().unwrap();
    assert_eq!(*request.uri(), target);
    let mut headers = HeaderMap::new();
    for field in parsed.headers.iter() {
        headers.append(
            HeaderName::from_bytes(field.name.as_bytes()).unwrap(),
            HeaderValue::from_bytes(field.value).unwrap(),
        );
    }
    assert_eq!(*request.headers(), headers);
}
