//! Any configuration is accepted or refused with reasons; an accepted one says what it changes.

use fanfare::config::Config;
use fanfare::dialect::sections;

pub fn run(text: &str) {
    match Config::from_toml_with(text, &sections(&[])) {
        Ok(config) => {
            let _ = config.differences();
        }
        Err(error) => assert!(!error.problems.is_empty()),
    }
}
