//! Why an operation fails, as its member is told.

use std::borrow::Cow;

use crate::json::put_string;

/// The kinds of failures, by their names on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorCode {
    /// It cannot be understood.
    Invalid,
    /// There is no such connection or message.
    NotFound,
    /// The connection's protocol cannot do it.
    Unsupported,
    /// The service has no permission.
    Forbidden,
    /// It is larger than its limit.
    TooLarge,
    /// There is no room now.
    Busy,
    /// There is no operation with this name.
    UnknownOp,
}

impl ErrorCode {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
            Self::UnknownOp => "unknown_op",
        }
    }
}

/// Why an operation fails.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Its kind.
    pub code: ErrorCode,
    /// Its text, which says what to do.
    pub message: Cow<'static, str>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Something that cannot be understood.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// Appends it as a JSON object: the answer to the operation with this `id`, a JSON text, or an object of its own.
    pub fn put(&self, out: &mut Vec<u8>, id: Option<&str>) {
        out.push(b'{');
        if let Some(id) = id {
            out.extend_from_slice(format!(r#""id":{id},"#).as_bytes());
        }
        out.extend_from_slice(format!(r#""error":"{}","message":"#, self.code.name()).as_bytes());
        put_string(out, &self.message);
        out.push(b'}');
    }
}
