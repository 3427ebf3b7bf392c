//! The answer to a publication.

use super::order::PublishReceipt;
use crate::http::schema::{Field, Kind, Object};
use crate::http::{Answer, respond};

/// The response to a publication that has been stored.
pub(crate) fn accepted(receipt: PublishReceipt) -> Answer {
    let PublishReceipt { offset, delivered } = receipt;
    respond(
        202,
        "application/json",
        format!(r#"{{"status":"accepted","offset":{offset},"delivered":{delivered}}}"#),
    )
}

/// The body of that response.
pub(crate) static ACCEPTED: Object<3> = Object {
    name: "Accepted",
    doc: "What has been published.",
    fields: [
        Field::required(
            "status",
            Kind::OneOf(&[r#""accepted""#]),
            r#""accepted""#,
            "Always this.",
        ),
        Field::required(
            "offset",
            Kind::Integer(0, u64::MAX),
            "42",
            "Its place in the topic.",
        ),
        Field::required(
            "delivered",
            Kind::Integer(0, u64::MAX),
            "12",
            "How many connections have it queued.",
        ),
    ],
};

pub(crate) const ACCEPTED_EXAMPLE: &str = r#"{"status":"accepted","offset":42,"delivered":12}"#;
