//! PEM (RFC 7468): one key in a text file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The one PEM block of a file.
#[derive(Debug)]
pub(super) struct Pem {
    /// The label, such as `PUBLIC KEY`.
    pub(super) label: String,
    /// The decoded bytes.
    pub(super) der: Vec<u8>,
}

/// Why a file is not valid PEM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error("it is not PEM: a line `-----BEGIN PUBLIC KEY-----` is missing")]
    NoBlock,
    #[error("it holds more than one PEM block")]
    SeveralBlocks,
    #[error("what stands between its BEGIN and END lines is not base64")]
    Base64,
}

/// Whether `bytes` contain a PEM block, valid or not.
pub(super) fn is_pem(bytes: &[u8]) -> bool {
    bytes
        .windows(BEGIN.len())
        .any(|window| window == BEGIN.as_bytes())
}

/// Reads the one block of `bytes`; text around it is ignored (RFC 7468 section 5.2).
pub(super) fn read(bytes: &[u8]) -> Result<Pem, PemError> {
    let text = str::from_utf8(bytes).map_err(|_| PemError::NoBlock)?;
    let (_, block) = text.split_once(BEGIN).ok_or(PemError::NoBlock)?;
    if block.contains(BEGIN) {
        return Err(PemError::SeveralBlocks);
    }
    let (label, block) = block.split_once("-----").ok_or(PemError::NoBlock)?;
    let end = format!("-----END {label}-----");
    let (body, _) = block.split_once(end.as_str()).ok_or(PemError::NoBlock)?;
    let digits: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(digits).map_err(|_| PemError::Base64)?;
    Ok(Pem {
        label: label.to_owned(),
        der,
    })
}

const BEGIN: &str = "-----BEGIN ";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &[u8]), PemError>) {
        let read = read(text.as_bytes());
        let read = read.as_ref().map(|pem| (pem.label.as_str(), &pem.der[..]));
        assert_eq!(read.map_err(|error| *error), expected, "{text:?}");
    }

    #[test]
    fn one_block_is_read_and_nothing_else() {
        let block = "-----BEGIN PUBLIC KEY-----\nAQID\nBA==\n-----END PUBLIC KEY-----";
        let good = Ok(("PUBLIC KEY", &[1, 2, 3, 4][..]));
        check(block, good);
        check(&format!("a key\n{block}\n"), good);
        check(&block.replace('\n', "\r\n"), good);
        check(&block.replace('\n', ""), good);
        check(&format!("{block}\n{block}"), Err(PemError::SeveralBlocks));
        // The dashes that end one line also begin the next.
        check(
            &format!("{block}BEGIN PRIVATE KEY-----\n"),
            Err(PemError::SeveralBlocks),
        );
        check(&block.replace("AQID", "AQ!D"), Err(PemError::Base64));
        check(
            &block.replace("END PUBLIC", "END PRIVATE"),
            Err(PemError::NoBlock),
        );
        for end in 0..block.len() {
            assert!(read(&block.as_bytes()[..end]).is_err(), "cut at {end}");
        }
        check("", Err(PemError::NoBlock));
    }
}
