//! Where the private key is.

use std::env;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::identity::Identity;
use crate::private_file;

const VARIABLE: &str = "WS_PRIVATE_KEY";
const FILE_BYTES_MAX: u64 = 1024;

/// A private key, and the file that was made for it in this run.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) identity: Identity,
    /// None if it was there before.
    pub(crate) made: Option<PathBuf>,
}

impl From<Identity> for Loaded {
    fn from(identity: Identity) -> Self {
        Self {
            identity,
            made: None,
        }
    }
}

/// The key of `WS_PRIVATE_KEY` or of a file; a file that is not there is made.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded, Failure> {
    let variable = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    match (variable, file) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "there is {VARIABLE} and a key file: one of them"
        ))),
        (Some(text), None) => parse(VARIABLE, &text).map(Loaded::from),
        (None, Some(path)) => {
            let text = private_file::read(path, FILE_BYTES_MAX).map_err(Failure::Key)?;
            if let Some(text) = text {
                return parse(&path.display().to_string(), &text).map(Loaded::from);
            }
            let identity = Identity::generate();
            create(path, &identity)?;
            Ok(Loaded {
                identity,
                made: Some(path.to_owned()),
            })
        }
        (None, None) => Err(Failure::Usage(format!(
            "there is no private key: --key-file FILE, which is made where there is none, or {VARIABLE}"
        ))),
    }
}

/// Writes a new file.
pub(crate) fn create(path: &Path, identity: &Identity) -> Result<(), Failure> {
    let text = identity.to_base64() + "\n";
    let created = private_file::create(path, &text);
    created.map_err(|error| Failure::Key(format!("{} cannot be made: {error}", path.display())))
}

fn parse(origin: &str, text: &str) -> Result<Identity, Failure> {
    let identity = Identity::parse(text);
    identity
        .map_err(|why| Failure::Key(format!("{origin}: {why}; `fanfare-chat keygen` makes one")))
}
