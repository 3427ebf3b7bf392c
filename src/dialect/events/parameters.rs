//! The query parameters of an upgrade request.

/// The encoding of frames, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Encoding {
    /// JSON objects in text frames.
    #[default]
    Json,
    /// MessagePack maps in binary frames.
    Msgpack,
    /// JSON objects in text frames, with several events per frame.
    JsonBatch,
}

/// The query parameters of an upgrade request.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Parameters {
    /// `format` and `batch`: how frames are encoded.
    pub encoding: Encoding,
    /// `welcome`: whether an additional first frame is sent.
    pub welcome: bool,
    /// `inbox_after`: the epoch and offset of the last event received from the user's inbox, that is, its `event_id`.
    pub inbox_after: Option<(u64, u64)>,
}

/// The parameter whose value is not valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadParameter {
    /// `format`
    #[error("`format` is unknown; there are: json, msgpack")]
    Format,
    /// `welcome`
    #[error("`welcome` is true or false")]
    Welcome,
    /// `batch`
    #[error("`batch` is true or false, and not for msgpack")]
    Batch,
    /// `inbox_after`
    #[error("`inbox_after` is the `event_id` of an event")]
    InboxAfter,
}

impl Parameters {
    /// Reads the query of a URL. Other parameters are ignored; if one is repeated, the last counts. Values are not
    /// percent-decoded, since no valid one needs escapes.
    ///
    /// # Errors
    /// A parameter has an invalid value.
    pub fn parse(query: &str) -> Result<Self, BadParameter> {
        let (mut parameters, mut batch) = (Self::default(), false);
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, value) {
                ("format", "json") => parameters.encoding = Encoding::Json,
                ("format", "msgpack") => parameters.encoding = Encoding::Msgpack,
                ("format", _) => return Err(BadParameter::Format),
                ("welcome", _) => {
                    parameters.welcome = flag(value).ok_or(BadParameter::Welcome)?;
                }
                ("batch", _) => batch = flag(value).ok_or(BadParameter::Batch)?,
                ("inbox_after", _) => {
                    let position = position(value).ok_or(BadParameter::InboxAfter)?;
                    parameters.inbox_after = Some(position);
                }
                _ => {}
            }
        }
        match (parameters.encoding, batch) {
            (_, false) => {}
            (Encoding::Json, true) => parameters.encoding = Encoding::JsonBatch,
            (_, true) => return Err(BadParameter::Batch),
        }
        Ok(parameters)
    }
}

fn position(event_id: &str) -> Option<(u64, u64)> {
    let (epoch, offset) = event_id.split_once('-')?;
    Some((epoch.parse().ok()?, offset.parse().ok()?))
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Result<(Encoding, bool), BadParameter>) {
        let got = Parameters::parse(query);
        let got = got.map(|parameters| (parameters.encoding, parameters.welcome));
        assert_eq!(got, expected, "{query}");
    }

    #[test]
    fn parameters_are_read_and_others_are_left_alone() {
        check("", Ok((Encoding::Json, false)));
        check("token=x&y&=&&z=1=2", Ok((Encoding::Json, false)));
        check("format=json&welcome=false", Ok((Encoding::Json, false)));
        check(
            "token=x&format=msgpack&welcome=true",
            Ok((Encoding::Msgpack, true)),
        );
        check(
            "welcome=1&format=msgpack&format=json",
            Ok((Encoding::Json, true)),
        );
        check("batch=true", Ok((Encoding::JsonBatch, false)));
        check("batch=1&format=json", Ok((Encoding::JsonBatch, false)));
        check("batch=false&format=msgpack", Ok((Encoding::Msgpack, false)));
        check("xformat=cbor&formatx=cbor", Ok((Encoding::Json, false)));
    }

    #[test]
    fn a_value_that_means_nothing_is_an_error() {
        for query in [
            "format",
            "format=",
            "format=cbor",
            "format=JSON",
            "format=msg%70ack",
        ] {
            check(query, Err(BadParameter::Format));
        }
        for query in ["batch", "batch=x", "batch=true&format=msgpack"] {
            check(query, Err(BadParameter::Batch));
        }
        for query in [
            "inbox_after=",
            "inbox_after=1",
            "inbox_after=1-x",
            "inbox_after=-1-1",
        ] {
            check(query, Err(BadParameter::InboxAfter));
        }
        for query in ["welcome", "welcome=yes", "format=json&welcome=TRUE"] {
            check(query, Err(BadParameter::Welcome));
        }
    }
}
