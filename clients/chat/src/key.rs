//! Where the private key is.

use std::env;
use std::path::Path;

use crate::failure::Failure;
use crate::identity::Identity;
use crate::output::Output;
use crate::private_file;

const VARIABLE: &str = "WS_PRIVATE_KEY";
const FILE_BYTES_MAX: u64 = 1024;

/// The key of `WS_PRIVATE_KEY` or of a file; a file that is not there is made.
pub(crate) fn load(file: Option<&Path>, output: &Output) -> Result<Identity, Failure> {
    let variable = env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    match (variable, file) {
        (Some(_), Some(_)) => Err(Failure::Usage(format!(
            "there is {VARIABLE} and a key file: one of them"
        ))),
        (Some(text), None) => parse(VARIABLE, &text),
        (None, Some(path)) => {
            let text = private_file::read(path, FILE_BYTES_MAX).map_err(Failure::Key)?;
            if let Some(text) = text {
                return parse(&path.display().to_string(), &text);
            }
            let identity = Identity::generate();
            create(path, &identity)?;
            output.notice(&format!(
                "a new private key is in {}: keep it, it is the account",
                path.display()
            ))?;
            Ok(identity)
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
