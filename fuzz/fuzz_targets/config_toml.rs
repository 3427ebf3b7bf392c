//! Any configuration is accepted or refused with reasons; an accepted one says what it changes.

#![no_main]

use fanfare::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Config::from_toml(text) {
        Ok(config) => {
            let _ = config.differences();
        }
        Err(error) => assert!(!error.problems.is_empty()),
    }
});
