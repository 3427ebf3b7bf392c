//! The 422 for an invalid body: the list of faults, in the format of FastAPI's validation errors, which existing
//! services parse.

use std::fmt::Write;

use super::syntax::first_fault;
use crate::call::BadCorrelation;
use crate::json::{Raw, put_string};

/// The largest number of faults listed. Each repeats a value of the body.
pub const DETAILS_MAX: usize = 100;

/// The faults of a body that is refused with status 422.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// JSON objects, separated by commas.
    details: String,
}

/// A kind of fault.
#[derive(Debug)]
pub(super) struct Fault {
    kind: &'static str,
    message: &'static str,
    /// A JSON object with details for programs.
    context: Option<&'static str>,
}

const fn fault(kind: &'static str, message: &'static str) -> Fault {
    Fault {
        kind,
        message,
        context: None,
    }
}

pub(super) static MISSING: Fault = fault("missing", "Field required");
pub(super) static NO_OBJECT: Fault = fault(
    "model_attributes_type",
    "Input should be a valid dictionary or object to extract fields from",
);
static NO_LIST: Fault = fault("list_type", "Input should be a valid list");
static NO_DICT: Fault = fault("dict_type", "Input should be a valid dictionary");
static NO_STRING: Fault = fault("string_type", "Input should be a valid string");
static NO_UNICODE: Fault = fault(
    "string_unicode",
    "Input should be a valid string, unable to parse raw data as a unicode string",
);
static NO_FLOAT: Fault = fault("float_type", "Input should be a valid number");
static NO_FLOAT_TEXT: Fault = fault(
    "float_parsing",
    "Input should be a valid number, unable to parse string as a number",
);
static NO_CORRELATION: Fault = fault("string_type", "Input should be a valid string or number");
static LONG_CORRELATION: Fault = Fault {
    kind: "string_too_long",
    message: "String should have at most 1024 bytes",
    context: Some(r#"{"max_length":1024}"#),
};

impl Invalid {
    /// The JSON body of the response.
    #[must_use]
    pub fn body(&self) -> String {
        format!(r#"{{"detail":[{}]}}"#, self.details)
    }

    /// The body is missing.
    #[must_use]
    pub fn missing_body() -> Self {
        let mut faults = Faults::default();
        faults.note(&FaultLocation::BODY, &MISSING, "null");
        faults.into()
    }

    /// The content type of a single message is not JSON.
    #[must_use]
    pub fn unread(body: &[u8]) -> Self {
        Self::unread_for(&NO_OBJECT, body)
    }

    /// The content type of a batch is not JSON.
    #[must_use]
    pub fn unread_batch(body: &[u8]) -> Self {
        Self::unread_for(&NO_LIST, body)
    }

    fn unread_for(fault: &Fault, body: &[u8]) -> Self {
        if body.is_empty() {
            return Self::missing_body();
        }
        let mut input = Vec::new();
        put_string(&mut input, &String::from_utf8_lossy(body));
        let mut faults = Faults::default();
        faults.note(
            &FaultLocation::BODY,
            fault,
            &String::from_utf8_lossy(&input),
        );
        faults.into()
    }

    /// The body of a batch is JSON, but not a list.
    pub(super) fn no_list(body: &str) -> Self {
        let mut faults = Faults::default();
        faults.note(&FaultLocation::BODY, &NO_LIST, body);
        faults.into()
    }

    /// The body is not JSON.
    pub(super) fn no_json(body: &str) -> Self {
        // Python accepts some texts that this gateway does not: a lone surrogate in a key, or as the whole body.
        let (offset, why) = first_fault(body).map_or((0, "Invalid \\uXXXX escape"), |fault| {
            (fault.offset, fault.why)
        });
        let mut context = Vec::new();
        put_string(&mut context, why);
        let details = format!(
            r#"{{"type":"json_invalid","loc":["body",{offset}],"msg":"JSON decode error","input":{{}},"ctx":{{"error":{}}}}}"#,
            String::from_utf8_lossy(&context)
        );
        Self { details }
    }
}

/// The location of a fault in a body.
#[derive(Debug)]
pub(super) struct FaultLocation<'a> {
    /// The index of the batch's element.
    pub(super) index: Option<usize>,
    /// The names of fields, outermost first.
    pub(super) path: &'a [&'a str],
}

impl FaultLocation<'_> {
    /// The body itself.
    const BODY: Self = Self {
        index: None,
        path: &[],
    };
}

/// The faults of a body found so far.
#[derive(Default, Debug)]
pub(super) struct Faults {
    details: String,
    count: usize,
}

impl Faults {
    /// The number of faults, up to [`DETAILS_MAX`].
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a fault with the JSON value at its location, unless there are [`DETAILS_MAX`].
    pub(super) fn note(&mut self, location: &FaultLocation<'_>, fault: &Fault, input: &str) {
        if self.count == DETAILS_MAX {
            return;
        }
        let comma = if self.count > 0 { "," } else { "" };
        self.count += 1;
        let out = &mut self.details;
        let (kind, message) = (fault.kind, fault.message);
        let _ = write!(out, r#"{comma}{{"type":"{kind}","loc":["body""#);
        if let Some(index) = location.index {
            let _ = write!(out, ",{index}");
        }
        for name in location.path {
            let _ = write!(out, r#","{name}""#);
        }
        let _ = write!(out, r#"],"msg":"{message}","input":{}"#, input.trim());
        if let Some(context) = fault.context {
            let _ = write!(out, r#","ctx":{context}"#);
        }
        out.push('}');
    }
}

impl From<Faults> for Invalid {
    fn from(faults: Faults) -> Self {
        Self {
            details: faults.details,
        }
    }
}

/// What the value of a field is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FieldKind {
    String,
    Object,
    /// A number, or a string of one.
    Number,
}

/// The fault of `value` if it is not of this kind.
pub(super) fn fault_of(kind: FieldKind, value: Raw<'_>) -> Option<&'static Fault> {
    match kind {
        FieldKind::String if !value.is_string() => Some(&NO_STRING),
        FieldKind::String => value.as_string().is_none().then_some(&NO_UNICODE),
        FieldKind::Object => (!value.is_object()).then_some(&NO_DICT),
        FieldKind::Number if value.is_string() => {
            let number = value.as_string().map(|text| text.trim().parse::<f64>());
            let is_number = number.is_some_and(|number| number.is_ok());
            (!is_number).then_some(&NO_FLOAT_TEXT)
        }
        FieldKind::Number => (!(value.is_number() || value.is_bool())).then_some(&NO_FLOAT),
    }
}

impl BadCorrelation {
    /// The fault that reports it.
    pub(super) fn fault(self) -> &'static Fault {
        match self {
            Self::Container | Self::Bool => &NO_CORRELATION,
            Self::TooLong => &LONG_CORRELATION,
            Self::Surrogate => &NO_UNICODE,
        }
    }
}
