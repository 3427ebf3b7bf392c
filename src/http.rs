//! HTTP: checks of request heads before hyper parses them, origins, proxies, and responses.

mod answer;
mod api;
mod cors;
mod forwarded;
mod guard;
mod head;
mod media;
mod origin;
mod page;
mod policy;
mod proxy;
mod redirect;

pub use answer::{
    Answer, AnswerBody, Rejection, event_stream_head, event_stream_headers, keys_missing, refuse,
    refuse_plainly, refuse_raw, refuse_raw_with, respond, too_many, too_many_buffered,
    too_many_failures,
};
pub use api::{Answering, Api, Shortcut};
pub use cors::{allow_page, may_post, origins_of, preflight};
pub use forwarded::{Source, client_of, has_untrusted_forwarding};
pub use guard::{Guard, GuardLimits, HeadError, Passed};
pub use head::read_head;
pub use media::preferred;
pub use origin::{is_allowed_page, is_own_page};
pub use page::Page;
pub use proxy::{PROXY_BYTES_MAX, ProxyError, ProxyHeader, parse_proxy, speaks_proxy};
pub use redirect::redirect_to_https;
